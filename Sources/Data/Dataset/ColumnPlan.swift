import Support

/// How the columns of a data set are read: the layout and the new name of each column.
struct ColumnPlan: Sendable, Equatable {
  enum Layout: Sendable, Equatable { case messages, alpaca, queryResponse, tokens }

  let layout: Layout
  /// Column as written → name of data.md section 2; columns that keep their name are missing.
  let names: [String: String]
  /// Sentences about columns that clash.
  let notes: [String]

  private static let media = [
    ("image", "images"), ("images", "images"), ("video", "videos"), ("videos", "videos"),
    ("audio", "audios"), ("audios", "audios"),
  ]
  private static let systems = [("system", "system"), ("system_prompt", "system")]
  private static let messageLists = ["messages", "conversation", "conversations"]
  private static let queries = ["query", "prompt", "input", "instruction", "question", "problem"]
  private static let responses = [
    "response", "answer", "output", "targets", "target", "answer_key", "answers", "solution",
    "text", "completion", "content",
  ]
  private static let pairKeys = ["messages", "images", "videos", "audios", "tools", "objects"]
  /// Columns that stay when `remove_unused_columns` is on.
  static let standard = Set(
    pairKeys + ["rejected", "positive", "negative"].flatMap { p in pairKeys.map { "\(p)_\($0)" } }
      + ["rejected_response", "label", "channel", "margin"])
  /// Columns that a layout reads and that are gone afterwards.
  static let consumed: Set<String> = [
    "system", "query", "response", "history", "instruction", "input", "output", "input_ids",
    "labels", "loss_scale",
  ]

  /// - Parameters:
  ///   - columns: names of all columns of the data set.
  ///   - renames: `--columns`, old name to new; they come first and win.
  ///   - file: where the columns were seen, for messages.
  /// - Throws: `DATA-104` if no column maps to messages or to query and response.
  init(columns: [String], renames: [(String, String)], file: String) throws(Fault) {
    var current = Dictionary(columns.map { ($0, $0) }) { first, _ in first }
    var notes: [String] = []
    Self.rename(&current, order: columns, by: renames, notes: &notes)
    let present = Set(current.values.map { $0.lowercased() })
    if present.contains("input_ids") {
      layout = .tokens
    } else if Self.messageLists.contains(where: present.contains) {
      layout = .messages
    } else if present.contains("instruction") && present.contains("input") {
      layout = .alpaca
    } else {
      layout = .queryResponse
    }
    var table = Self.media + Self.systems
    switch layout {
    case .messages: table += Self.messageLists.map { ($0, "messages") }
    case .tokens: break
    case .alpaca, .queryResponse:
      table += Self.queries.map { ($0, "query") } + Self.responses.map { ($0, "response") }
    }
    Self.rename(&current, order: columns, by: table, notes: &notes)
    Self.lowerKnown(&current)
    let known = Set(current.values)
    guard layout != .queryResponse || known.contains("query") || known.contains("response") else {
      throw Fault(
        .unknownColumns,
        "no column maps to messages or to query/response; columns are "
          + columns.joined(separator: ", "), at: .file(file),
        expected: "messages, or query and response, or instruction, input and output",
        found: notes.isEmpty ? nil : notes.joined(separator: "; "),
        fix: "name the columns with --columns '{\"old\": \"query\", \"other\": \"response\"}'")
    }
    names = current.filter { $0.key != $0.value }
    // That instruction and input both mean the query is what makes the alpaca layout.
    self.notes = layout == .alpaca ? notes.filter { !$0.hasSuffix("map to query") } : notes
  }

  /// Renames columns by a table, without regard to case. Where two columns would get one name,
  /// neither is renamed.
  private static func rename(
    _ current: inout [String: String], order: [String], by table: [(String, String)],
    notes: inout [String]
  ) {
    let targets = Dictionary(table.map { ($0.0.lowercased(), $0.1) }) { _, last in last }
    var hits: [String: [String]] = [:]
    for column in order {
      guard let name = current[column], let target = targets[name.lowercased()] else { continue }
      hits[target, default: []].append(column)
    }
    for (target, columns) in hits.sorted(by: { $0.key < $1.key }) {
      guard columns.count == 1 else {
        let list = columns.compactMap { current[$0] }.joined(separator: ", ")
        let note = "columns \(list) all map to \(target)"
        if !notes.contains(note) { notes.append(note) }
        continue
      }
      // A column that already had the name gives way to the one that was renamed to it.
      for (column, name) in current where name == target && column != columns[0] {
        current[column] = nil
      }
      current[columns[0]] = target
    }
  }

  /// Known names in other letters (`Messages`, `TOOLS`) get their usual spelling.
  private static func lowerKnown(_ current: inout [String: String]) {
    let taken = Set(current.values)
    for (column, name) in current {
      let lower = name.lowercased()
      if name != lower, standard.contains(lower) || consumed.contains(lower), !taken.contains(lower)
      {
        current[column] = lower
      }
    }
  }

  /// The row with its columns renamed.
  func apply(_ row: JSONObject) -> JSONObject {
    var renamed = JSONObject()
    for (key, value) in row.members where names[key] == nil { renamed[key] = value }
    for (key, value) in row.members {
      if let name = names[key] { renamed[name] = value }
    }
    return renamed
  }
}
