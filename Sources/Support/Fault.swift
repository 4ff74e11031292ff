/// The one error of the project: what happened, where, what was expected, how to mend it.
///
/// A `Fault` is printed once, by rank 0, and every rank leaves with `code.exit`
/// (docs/exit-codes.md). Build one with the code first, then add what is known:
///
///     throw Fault(.badRow, "line 2: not valid JSON (string not closed)",
///                 at: .file(path, line: 2), fix: "close the string")
public struct Fault: Error, Sendable {
  public let code: FaultCode
  /// What happened, one sentence, no trailing period.
  public let message: String
  public var expected: String?
  public var found: String?
  /// What the user can do about it.
  public var fix: String?
  public var place: Place?
  /// The text of the error below this one, if there is one.
  public var cause: String?
  /// Every rank of the job has this fault, so that one of them tells it.
  public var isAgreed = false

  public init(
    _ code: FaultCode, _ message: String, at place: Place? = nil, expected: String? = nil,
    found: String? = nil, fix: String? = nil, cause: (any Error)? = nil
  ) {
    self.code = code
    self.message = message
    self.place = place
    self.expected = expected
    self.found = found
    self.fix = fix
    self.cause = cause.map { "\($0)" }
  }

  /// Where a fault belongs: the thing the user can point at.
  public enum Place: Sendable, Equatable {
    case flag(String)
    case file(String, line: Int? = nil, column: Int? = nil)
    case row(dataset: String, index: Int)
    case tensor(String, file: String? = nil)
    case operation(String)
    case rank(Int, host: String? = nil)
  }
}

/// A stable code (`DATA-104`) with its title and the exit code of the job.
public struct FaultCode: Sendable, Hashable {
  public let id: String
  public let title: String
  public let exit: ExitCode

  public init(_ id: String, _ exit: ExitCode, _ title: String) {
    self.id = id
    self.exit = exit
    self.title = title
  }

  public static func == (a: FaultCode, b: FaultCode) -> Bool { a.id == b.id }
  public func hash(into hasher: inout Hasher) { hasher.combine(id) }
}

/// Exit codes of every program; job scripts act on them.
public enum ExitCode: Int32, Sendable, CaseIterable {
  case done = 0
  /// `megatron-parity`, `tools/check`: a comparison failed.
  case differs = 1
  case usage = 2
  case badData = 65
  case missingInput = 66
  case internalError = 70
  case memory = 71
  case cannotWrite = 73
  case communication = 74
  case stoppedOnRequest = 75
  case nonFinite = 76
  case corruptCheckpoint = 77
  case layout = 78
}

extension FaultCode {
  // Codes any room may use; a room adds its own in an extension beside its code.
  public static let missingFile = FaultCode(
    "FILE-001", .missingInput, "a file or folder that was named does not exist")
  public static let unreadableFile = FaultCode(
    "FILE-002", .missingInput, "a file cannot be read")
  public static let cannotWrite = FaultCode(
    "FILE-003", .cannotWrite, "a file or folder cannot be written")
  public static let badJSON = FaultCode("FILE-004", .badData, "a file is not valid JSON")
  public static let internalError = FaultCode(
    "INT-001", .internalError, "a mistake of the program itself")
  public static let badShape = FaultCode(
    "SHAPE-101", .internalError, "a tensor has another shape than the operation takes")
  public static let badPlacement = FaultCode(
    "PLACE-201", .internalError, "a value is split in another way than the operation takes")
}

extension Fault: CustomStringConvertible {
  /// The text the user sees: first line the fault, then one indented line per known part.
  public var description: String {
    var lines = ["error \(code.id): " + (place.map { "\($0): " } ?? "") + message]
    if let expected { lines.append("  expected: \(expected)") }
    if let found { lines.append("  found:    \(found)") }
    if let cause { lines.append("  because:  \(cause)") }
    if let fix { lines.append("  fix:      \(fix)") }
    return lines.joined(separator: "\n")
  }
}

extension Fault.Place: CustomStringConvertible {
  public var description: String {
    switch self {
    case .flag(let name): return "--\(name)"
    case .file(let path, let line, let column):
      return path + (line.map { ":\($0)" } ?? "") + (column.map { ":\($0)" } ?? "")
    case .row(let dataset, let index): return "\(dataset) row \(index)"
    case .tensor(let name, let file): return "tensor \(name)" + (file.map { " in \($0)" } ?? "")
    case .operation(let name): return name
    case .rank(let rank, let host): return "rank \(rank)" + (host.map { " on \($0)" } ?? "")
    }
  }
}
