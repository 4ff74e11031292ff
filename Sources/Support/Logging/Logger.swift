/// How much is said.
public enum LogLevel: Int, Sendable, Comparable, CaseIterable {
  case debug = 10
  case info = 20
  case warning = 30
  case error = 40
  case critical = 50

  /// Reads `INFO`, `warning`, `WARN` or a number as Python's logging does.
  /// - Returns: nil for any other text.
  public init?(text: String) {
    switch text.uppercased() {
    case "DEBUG": self = .debug
    case "INFO": self = .info
    case "WARNING", "WARN": self = .warning
    case "ERROR": self = .error
    case "CRITICAL", "FATAL": self = .critical
    default:
      guard let number = Int(text), number >= 0 else { return nil }
      self = Self.allCases.first { $0.rawValue >= number } ?? .critical
    }
  }

  public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }

  var name: String {
    switch self {
    case .debug: return "DEBUG"
    case .info: return "INFO"
    case .warning: return "WARNING"
    case .error: return "ERROR"
    case .critical: return "CRITICAL"
    }
  }
}

/// Writes messages of a run, one whole line at a time, from the ranks that may speak.
public struct Logger: Sendable {
  public let level: LogLevel
  public let rank: Int
  /// Ranks whose lines are shown; nil means all.
  private let speaker: Int?
  private let sink: @Sendable (String) -> Void

  /// - Parameters:
  ///   - speaker: the only rank that is heard (rank 0 by default); nil lets all speak, each line
  ///     then begins with its rank.
  ///   - sink: takes complete lines with their line end; standard error by default.
  public init(
    level: LogLevel = .info, rank: Int = 0, speaker: Int? = 0,
    sink: @escaping @Sendable (String) -> Void = { Terminal.write($0, to: .error) }
  ) {
    self.level = level
    self.rank = rank
    self.speaker = speaker
    self.sink = sink
  }

  public func debug(_ text: @autoclosure () -> String) { log(.debug, text) }
  public func info(_ text: @autoclosure () -> String) { log(.info, text) }
  public func warning(_ text: @autoclosure () -> String) { log(.warning, text) }
  public func error(_ text: @autoclosure () -> String) { log(.error, text) }

  private func log(_ level: LogLevel, _ text: () -> String) {
    guard level >= self.level, speaker == nil || speaker == rank else { return }
    let prefix = speaker == nil ? "[\(level.name)] [rank \(rank)] " : "[\(level.name)] "
    sink(prefix + text() + "\n")
  }
}
