import DataPipeline
import Foundation
import Support

/// The answers of a run as JSON lines, appended to what is there.
///
/// Not Sendable by design: used by the first rank only.
final class ResultFile {
  let path: String
  private var file: AppendFile?

  init(path: String) { self.path = path }

  /// Opens the file with the first answer, so that a conversation without one leaves nothing.
  private func open() throws(Fault) -> AppendFile {
    if let file { return file }
    let folder = (path as NSString).deletingLastPathComponent
    if !folder.isEmpty { try Folder.make(folder) }
    let opened = try AppendFile(path: path)
    file = opened
    return opened
  }

  /// Conversations that the file has answers to, up to the last line; the answers left out. A line
  /// that was cut off by the end of an earlier run is removed.
  private static func readAnswered(_ path: String) throws(Fault) -> [JSONValue] {
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    guard let data = FileManager.default.contents(atPath: path) else {
      throw Fault(.unreadableFile, "cannot be read", at: .file(path))
    }
    var text = String(decoding: data, as: UTF8.self)
    if !text.isEmpty, !text.utf8.reversed().starts(with: [UInt8(ascii: "\n")]) {
      text = text.lastIndex(of: "\n").map { String(text[...$0]) } ?? ""
      try AtomicFile.write(Array(text.utf8), to: path)
    }
    return text.split(separator: "\n").map { line in
      guard let json = try? JSONValue.parse(String(line)) else { return .null }
      return conversation(json["messages"]?.array ?? [], json["labels"] ?? .null)
    }
  }

  /// What tells whether a line answers a row: the prompt's messages and the reference answer.
  private static func conversation(_ messages: [JSONValue], _ labels: JSONValue) -> JSONValue {
    .array([.array(messages.dropLast()), labels])
  }

  /// Rows at the beginning that an earlier run which did not finish has answered: the longest part
  /// of `rows` that the file ends with, unless that is all of them.
  /// - Throws: `FILE-002`, `FILE-003`.
  func answeredRows(_ rows: [StandardRow]) throws(Fault) -> Int {
    let answered = try Self.readAnswered(path)
    let wanted = rows.map { row in
      let record = ResultRecord(row, response: "")
      return Self.conversation(record.messages.map(ResultRecord.json), record.labelValue)
    }
    for count in stride(from: min(rows.count - 1, answered.count), to: 0, by: -1)
    where answered.suffix(count).elementsEqual(wanted.prefix(count)) {
      // A whole run ends with its last row, which may be any row of this one.
      let isWhole =
        answered.count >= rows.count && answered.suffix(rows.count).elementsEqual(wanted)
      return isWhole ? 0 : count
    }
    return 0
  }

  func append(lines: [String]) throws(Fault) {
    guard !lines.isEmpty else { return }
    try open().append(Array((lines.joined(separator: "\n") + "\n").utf8))
  }

  /// A round at the terminal.
  func append(interactive request: InferRequest, response: String) throws(Fault) {
    func list(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
    let record = JSONObject([
      ("response", .string(response)),
      (
        "messages",
        .array(
          request.messages.map {
            ResultRecord.json(DataPipeline.Message(role: $0.role, content: $0.content))
          })
      ),
      ("images", list(request.images)), ("audios", list([])), ("videos", list(request.videos)),
    ])
    try append(lines: [JSONValue.object(record).write(.python)])
  }

  /// Where answers go when no path is named.
  /// - Parameters:
  ///   - folder: that of the model or adapter; counts when it has an `args.json`.
  ///   - model: its name.
  static func defaultPath(folder: String?, model: String) -> String {
    let name = "infer_result/\(LocalTime().folderStamp).jsonl"
    if let folder, PathText.exists(folder + "/" + SavedArguments.fileName) {
      return folder + "/" + name
    }
    let last = model.split(separator: "/").last.map(String.init) ?? "model"
    return PathText.absolute("result/\(last)/\(name)")
  }
}

/// One line of the result file.
struct ResultRecord {
  let row: StandardRow
  let response: String
  var logprobs: [TokenLogprob]?
  /// The reference answer, taken off the conversation.
  let labels: String?
  /// The conversation with the generated answer.
  let messages: [DataPipeline.Message]

  init(_ row: StandardRow, response: String, logprobs: [TokenLogprob]? = nil) {
    self.row = row
    self.response = response
    self.logprobs = logprobs
    var messages = row.messages
    labels = messages.last?.role == "assistant" ? messages.removeLast().content : nil
    messages.append(DataPipeline.Message(role: "assistant", content: response))
    self.messages = messages
  }

  var labelValue: JSONValue { labels.map { .string($0) } ?? .null }

  static func json(_ message: DataPipeline.Message) -> JSONValue {
    .object(
      JSONObject([("role", .string(message.role)), ("content", .string(message.content))]))
  }

  /// A picture by its path, in the form that files with bytes have.
  private static func picture(_ value: JSONValue) -> JSONValue {
    guard value.string != nil else { return value }
    return .object(JSONObject([("bytes", .null), ("path", value)]))
  }

  var line: String {
    let content = logprobs.map { JSONValue.array($0.map(\.json)) }
    var object = JSONObject([
      ("response", .string(response)), ("labels", labelValue),
      ("logprobs", content.map { .object(JSONObject([("content", $0)])) } ?? .null),
      ("messages", .array(messages.map(Self.json))),
    ])
    for (key, value) in row.json.object?.members ?? [] where object[key] == nil {
      object[key] = key == "images" ? .array((value.array ?? []).map(Self.picture)) : value
    }
    return JSONValue.object(object).write(.python)
  }
}
