import Parallel
import Support

/// Where a rank stands when the job hangs, as one line that others can read.
struct RankState: Sendable, Equatable {
  /// `all-gather on tp (call 58)`; nil before the first collective.
  var operation: String?
  /// The rank is inside of `operation`, not after it.
  var isWaiting = false
  var seconds = 0.0

  init(_ last: OperationLog.Entry?, seconds: Double) {
    operation = last.map { "\($0.kind.rawValue) on \($0.label) (call \($0.number))" }
    isWaiting = last.map { !$0.isDone } ?? false
    self.seconds = seconds
  }

  init(operation: String?, isWaiting: Bool, seconds: Double) {
    self.operation = operation
    self.isWaiting = isWaiting
    self.seconds = seconds
  }

  var text: String {
    var object = JSONObject()
    object["operation"] = operation.map { .string($0) }
    object["waits"] = .bool(isWaiting)
    object["seconds"] = JSONValue(seconds)
    return JSONValue.object(object).write()
  }

  init?(text: String) {
    guard let json = try? JSONValue.parse(text), let waits = json["waits"]?.bool,
      let seconds = json["seconds"]?.double
    else { return nil }
    self.init(operation: json["operation"]?.string, isWaiting: waits, seconds: seconds)
  }

  var sentence: String {
    let time = NumberText.fixed(seconds, 1)
    guard let operation else { return "has made no collective, for \(time) s" }
    return isWaiting
      ? "waits in \(operation) for \(time) s"
      : "is between collectives for \(time) s; its last was \(operation)"
  }
}

/// What the user is told: who waits for whom in what.
enum HangReport {
  /// - Parameter states: by rank; nil for a rank that did not answer.
  static func fault(_ states: [RankState?]) -> Fault {
    let silent = states.indices.filter { states[$0] == nil }
    let busy = states.indices.filter { states[$0].map { !$0.isWaiting } ?? false }
    let lines = states.enumerated().map { rank, state in
      "rank \(rank) " + (state?.sentence ?? "does not answer: its process is stopped or gone")
    }
    let blamed = silent.isEmpty ? busy : silent
    let who = blamed.map(String.init).joined(separator: ", ")
    return Fault(
      .hang,
      blamed.isEmpty
        ? "the job hangs: all ranks wait, in different calls"
        : "the job hangs: the others wait for rank \(who)",
      found: lines.joined(separator: "; "),
      fix: "look at the node and the data of that rank, then go on with --resume auto; "
        + "--hang_seconds N waits longer, 0 for ever")
  }
}

extension FaultCode {
  static let hang = FaultCode(
    "COMM-006", .communication, "no rank gets on, because one of them does not come")
}
