import Support

extension LoggingFlags {
  /// `loggingLevel` as a threshold; INFO when unset.
  public var level: LogLevel { self.loggingLevel.flatMap { LogLevel(text: $0) } ?? .info }
}
