import Support

/// Everything a run writes about itself while it trains: log lines, `logging.jsonl`, event file.
///
/// Lives on one rank, the last one (cli.md 8); the others have none. A full disk is a fault of the
/// call that met it, never swallowed: a run whose record is lost must not go on unnoticed.
public final class RunLog {
  /// Where and how the run is recorded.
  public struct Settings: Sendable {
    public var form = TrainingOptions.Form.megatron
    /// nil: no event file.
    public var tensorboardFolder: String?
    public var tensorboardInterval = 1
    public var tensorboardQueue = 50
    public var curves = TrainingCurves()
    public init() {}

    /// The choices of the flags for a run in `directory`.
    public init(_ options: TrainingOptions, directory: String) {
      form = options.form
      let folder = options.logging.tensorboardDir ?? directory + "/runs"
      let isWanted = options.form == .megatron || !options.swift.reportTo.contains("none")
      tensorboardFolder = isWanted ? folder : nil
      tensorboardInterval = options.logging.tensorboardLogInterval
      tensorboardQueue = options.logging.tensorboardQueueSize
      curves = TrainingCurves(options.logging)
    }
  }

  /// `<run>/logging.jsonl`.
  public let path: String
  private let settings: Settings
  private let lines: AppendFile
  private let events: EventFile?
  private let print: (String) -> Void
  public private(set) var summary = RunSummary()

  /// Makes the folder of the run where it is missing and opens the files.
  /// - Parameter print: takes complete lines; standard output by default.
  /// - Throws: `FILE-003`.
  public init(
    directory: String, settings: Settings,
    print: @escaping (String) -> Void = { Terminal.write($0, to: .output) }
  ) throws(Fault) {
    try RunDirectory.make(directory)
    path = directory + "/logging.jsonl"
    self.settings = settings
    self.print = print
    lines = try AppendFile(path: path)
    if let folder = settings.tensorboardFolder {
      events = try EventFile(folder: folder, queueSize: settings.tensorboardQueue)
    } else {
      events = nil
    }
    summary.runDirectory = directory
  }

  /// Records a logged step: one printed line and one object.
  public func log(_ record: StepRecord, at time: LocalTime = LocalTime()) throws(Fault) {
    print(LogLine.text(record, at: time) + "\n")
    summary.add(record)
    try write(JSONRecord.object(record, form: settings.form))
  }

  /// Adds the points of a step to the curves, logged or not.
  public func plot(
    _ record: StepRecord, timers: [(name: String, seconds: Double)] = [], memoryBytes: Int? = nil
  ) throws(Fault) {
    guard let events, record.iteration % max(1, settings.tensorboardInterval) == 0 else { return }
    let points = settings.curves.points(record, timers: timers, memoryBytes: memoryBytes)
    try events.add(points.byIteration, step: record.iteration)
    try events.add(points.bySamples, step: record.consumedSamples)
  }

  /// Records an evaluation: three printed lines, one object, points, all on the disk at once.
  public func log(_ record: EvalRecord) throws(Fault) {
    print(LogLine.text(record) + "\n")
    summary.add(record)
    try write(JSONRecord.object(record, form: settings.form))
    guard let events else { return }
    let points = settings.curves.points(record)
    try events.add(points.byIteration, step: record.iteration)
    try events.add(points.bySamples, step: record.consumedSamples)
    try events.flush()
  }

  /// Appends any further object, such as the last record of the form of `swift sft`.
  public func write(_ object: JSONObject) throws(Fault) {
    try lines.append(line: JSONValue.object(object).write(.python))
  }

  /// Brings everything to the disk; to be called before a checkpoint is announced.
  public func flush() throws(Fault) {
    try events?.flush()
    try lines.synchronize()
  }

  /// Writes what is kept back and closes the files.
  public func close() throws(Fault) {
    try events?.close()
    try lines.synchronize()
    try lines.close()
  }
}
