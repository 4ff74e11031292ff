/// What became of the rows of every file: counts, and the first texts of each kind.
public struct DataReport: Sendable, Equatable {
  /// Texts kept per file and kind; the others are only counted.
  public static let textLimit = 10

  /// The account of one file.
  public struct File: Sendable, Equatable {
    public let path: String
    /// Rows that stood in the file.
    public var read = 0
    /// Bad rows that were left out.
    public var dropped = 0
    /// Rows over `max_length` that were left out.
    public var tooLong = 0
    /// Rows that were cut to `max_length`.
    public var truncated = 0
    /// Times another row was taken in place of one that failed when it was fetched.
    public var replaced = 0
    /// Why rows were dropped or replaced, the first ten.
    public var reasons: [String] = []
    /// Doubtful rows that were kept.
    public var warnings = 0
    public var warningTexts: [String] = []
  }

  public private(set) var files: [File] = []
  /// Sentences about the whole: forced options, clashing columns, repeated rows.
  public private(set) var notes: [String] = []

  private let limit: Int

  public init(textLimit: Int = DataReport.textLimit) { limit = textLimit }

  public mutating func note(_ text: String) {
    if !notes.contains(text) { notes.append(text) }
  }

  mutating func update(_ path: String, _ change: (inout File) -> Void) {
    if let place = files.lastIndex(where: { $0.path == path }) {
      change(&files[place])
    } else {
      var file = File(path: path)
      change(&file)
      files.append(file)
    }
  }

  mutating func dropped(_ source: StandardRow.Source, reason: String) {
    let limit = limit
    update(source.file) {
      $0.dropped += 1
      if $0.reasons.count < limit { $0.reasons.append("line \(source.line): \(reason)") }
    }
  }

  mutating func replaced(_ source: StandardRow.Source, reason: String) {
    let limit = limit
    update(source.file) {
      $0.replaced += 1
      if $0.reasons.count < limit { $0.reasons.append("line \(source.line): \(reason)") }
    }
  }

  mutating func warned(_ source: StandardRow.Source, _ text: String) {
    let limit = limit
    update(source.file) {
      $0.warnings += 1
      if $0.warningTexts.count < limit {
        $0.warningTexts.append("line \(source.line): \(text)")
      }
    }
  }

  /// Rows left out in all files.
  public var droppedRows: Int { files.reduce(0) { $0 + $1.dropped + $1.tooLong } }

  /// The report as lines for the log; files without anything to tell have one line or none.
  public var lines: [String] {
    notes
      + files.flatMap { file -> [String] in
        let lost = file.dropped + file.tooLong
        var lines: [String] = []
        if lost > 0 {
          lines.append(
            "\(file.path): Dataset filtered, origin length: \(file.read), "
              + "filtered dataset length: \(file.read - lost)")
        }
        if file.tooLong > 0 { lines.append("\(file.path): \(file.tooLong) rows over max_length") }
        if file.truncated > 0 { lines.append("\(file.path): \(file.truncated) rows were cut") }
        if file.replaced > 0 { lines.append("\(file.path): \(file.replaced) rows were replaced") }
        lines += file.reasons.map { "\(file.path): \($0)" }
        if file.dropped > file.reasons.count {
          lines.append("\(file.path): \(file.dropped - file.reasons.count) more were dropped")
        }
        lines += file.warningTexts.map { "\(file.path): warning, \($0)" }
        if file.warnings > file.warningTexts.count {
          lines.append(
            "\(file.path): \(file.warnings - file.warningTexts.count) more warnings")
        }
        return lines
      }
  }

  /// Adds the counts and texts of another report.
  mutating func merge(_ other: DataReport) {
    let limit = limit
    for text in other.notes { note(text) }
    for file in other.files {
      update(file.path) {
        $0.read += file.read
        $0.dropped += file.dropped
        $0.tooLong += file.tooLong
        $0.truncated += file.truncated
        $0.replaced += file.replaced
        $0.warnings += file.warnings
        $0.reasons = Array(($0.reasons + file.reasons).prefix(limit))
        $0.warningTexts = Array(($0.warningTexts + file.warningTexts).prefix(limit))
      }
    }
  }
}
