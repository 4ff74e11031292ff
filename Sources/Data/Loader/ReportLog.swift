import Synchronization

/// A report that several threads write to.
public final class ReportLog: Sendable {
  private let report: Mutex<DataReport>

  /// - Parameter textLimit: texts kept per file and kind.
  public init(textLimit: Int = DataReport.textLimit) {
    report = Mutex(DataReport(textLimit: textLimit))
  }

  /// The report so far.
  public var snapshot: DataReport { report.withLock { $0 } }

  func update(_ change: (inout DataReport) -> Void) { report.withLock { change(&$0) } }
}
