import Support

/// What is read from a row, beside its columns.
public struct RowOptions: Sendable, Equatable {
  /// `--columns`: old name to new, in order.
  public var columns: [String: String] = [:]
  /// `--strict`: the first bad row stops the program.
  public var strict = false
  /// `--remove_unused_columns`.
  public var removeUnused = true
  /// `RANDOM_DATASET_RESPONSE`: of a list of responses one is drawn; false takes the first.
  public var randomResponse = true
  /// Whether the model reads pictures and clips; rows with media are refused otherwise.
  public var acceptsMedia = false
  /// Whether a row must hold an assistant turn; false for prompts to be answered.
  public var requiresAnswer = true
  /// Threads that prepare rows (`--dataset_num_proc`); the result does not depend on it.
  public var threads = 1
  public init() {}
}

/// Turns rows as written into standard rows (data.md section 2).
struct RowStandardizer: Sendable {
  let plan: ColumnPlan
  let preset: RowPreset
  let options: RowOptions
  /// numpy's stream that picks among several responses, started anew for each data set.
  private var picks = RandomState(seed: 42)

  init(plan: ColumnPlan, preset: RowPreset, options: RowOptions) {
    self.plan = plan
    self.preset = preset
    self.options = options
  }

  /// The same options and the same stream of picks under another plan.
  init(plan: ColumnPlan, like other: RowStandardizer) {
    self.plan = plan
    preset = other.preset
    options = other.options
    picks = other.picks
  }

  /// Random words that were used to pick among responses.
  var pickedWords: Int { picks.words }

  /// Goes on as after a number of words.
  mutating func skip(words: Int) { picks.skip(words: words - picks.words) }

  /// Which of several responses row `raw` uses; called once per row, in file order.
  mutating func pick(_ raw: RawRow) -> Int {
    guard plan.layout == .queryResponse || plan.layout == .alpaca,
      let list = plan.apply(raw.columns)["response"]?.array, list.count > 1, options.randomResponse
    else { return 0 }
    return picks.integer(below: list.count)
  }

  /// The standard row.
  /// - Returns: nil when the preset of a registered data set passes the row over.
  /// - Throws: `DATA-102` naming the field, what is wrong and how to mend it.
  func standardize(_ raw: RawRow, pick: Int) throws(Fault) -> StandardRow? {
    guard let columns = try preset.apply(plan.apply(raw.columns), at: raw.source) else {
      return nil
    }
    var reader = RowReader(columns: columns, source: raw.source)
    var row = StandardRow(messages: [], source: raw.source)
    try reader.readMedia(into: &row)
    switch plan.layout {
    case .messages: try reader.readMessages(into: &row)
    case .alpaca:
      try reader.joinInstruction()
      try reader.readQueryResponse(into: &row, pick: pick)
    case .queryResponse: try reader.readQueryResponse(into: &row, pick: pick)
    case .tokens: try reader.readTokens(into: &row)
    }
    try reader.readObjects(into: &row)
    try reader.readRest(into: &row, keepAll: !options.removeUnused)
    return row
  }
}

/// The columns of one row, taken one after the other.
struct RowReader {
  var columns: JSONObject
  let source: StandardRow.Source

  /// A fault of this row.
  func bad(_ message: String, fix: String? = nil) -> Fault {
    Fault(.badRow, message, at: .file(source.file, line: source.line), fix: fix)
  }

  /// Takes a column; null counts as missing.
  mutating func take(_ name: String) -> JSONValue? {
    defer { columns[name] = nil }
    guard let value = columns[name], !value.isNull else { return nil }
    return value
  }

  /// Takes a column of text.
  mutating func takeText(_ name: String) throws(Fault) -> String? {
    guard let value = take(name) else { return nil }
    guard let text = value.string else {
      throw bad("\(name) must be a string, found \(value.kind)", fix: "put the value in quotes")
    }
    return text
  }

  /// `input_ids` and `labels` are taken as they are; `loss_scale` beside them.
  mutating func readTokens(into row: inout StandardRow) throws(Fault) {
    let ids = try takeIntegers("input_ids")
    let labels = try takeIntegers("labels")
    guard ids.count == labels.count, !ids.isEmpty else {
      throw bad(
        "input_ids has \(ids.count) entries and labels \(labels.count)",
        fix: "give both, with one label per token and -100 where nothing is trained")
    }
    guard ids.allSatisfy({ $0 >= 0 }), labels.allSatisfy({ $0 >= 0 || $0 == -100 }) else {
      throw bad("input_ids or labels hold a negative number", fix: "only labels may be -100")
    }
    row.inputIDs = ids
    row.labels = labels
    if let scale = take("loss_scale") {
      guard let list = scale.array, list.count == ids.count, list.allSatisfy({ $0.double != nil })
      else { throw bad("loss_scale must be a list of \(ids.count) numbers") }
      row.others["loss_scale"] = scale
    }
  }

  private mutating func takeIntegers(_ name: String) throws(Fault) -> [Int32] {
    guard let value = take(name) else { throw bad("\(name) is missing") }
    guard let list = value.array else { throw bad("\(name) must be a list of whole numbers") }
    var numbers: [Int32] = []
    for (i, item) in list.enumerated() {
      guard let number = item.int, let small = Int32(exactly: number) else {
        throw bad("\(name)[\(i)] must be a whole number, found \(item.write())")
      }
      numbers.append(small)
    }
    return numbers
  }

  /// Channel, tools and what other standard columns hold.
  mutating func readRest(into row: inout StandardRow, keepAll: Bool) throws(Fault) {
    row.tools = take("tools")
    row.channel = try takeText("channel")
    if let rejected = columns["rejected_response"] {
      guard let text = rejected.string, text != row.messages.last?.content else {
        throw bad(
          "rejected_response is null or equals the chosen answer", fix: "drop the row or the column"
        )
      }
    }
    for (name, value) in columns.members {
      if ColumnPlan.consumed.contains(name) || name == "messages" { continue }
      if keepAll || (ColumnPlan.standard.contains(name) && !value.isNull) {
        row.others[name] = value
      }
    }
  }
}
