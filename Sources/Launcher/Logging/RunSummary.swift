import Support

/// What is told at the end of a run.
public struct RunSummary: Sendable {
  public var runDirectory = ""
  public var lastIteration = 0
  public var lastCheckpoint: String?
  public var lastTrainLoss: Double?
  public var lastEvalLoss: Double?
  /// Smallest evaluation loss and the iteration it was found at.
  public private(set) var best: (loss: Double, iteration: Int)?
  public var totalSeconds = 0.0
  /// Tokens (without padding) of all steps.
  public var tokens = 0

  public init() {}

  /// Takes the loss of a logged step.
  public mutating func add(_ record: StepRecord) {
    lastIteration = record.iteration
    lastTrainLoss = record.losses.first?.value
  }

  /// Takes the loss of an evaluation; the first of equal ones stays the best.
  public mutating func add(_ record: EvalRecord) {
    guard let loss = record.losses.first?.value else { return }
    lastEvalLoss = loss
    if loss.isFinite, best.map({ loss < $0.loss }) ?? true { best = (loss, record.iteration) }
  }

  /// One line per known fact.
  public var text: String {
    func loss(_ value: Double) -> String { NumberText.scientific(value) }
    var rows = [("run directory", runDirectory), ("last iteration", String(lastIteration))]
    rows.append(("last checkpoint", lastCheckpoint ?? "none"))
    if let lastTrainLoss { rows.append(("last training loss", loss(lastTrainLoss))) }
    if let lastEvalLoss { rows.append(("last evaluation loss", loss(lastEvalLoss))) }
    if let best {
      rows.append(("best evaluation loss", "\(loss(best.loss)) at iteration \(best.iteration)"))
    }
    rows.append(("total time", durationText(seconds: totalSeconds)))
    if totalSeconds > 0, tokens > 0 {
      rows.append(("tokens per second", NumberText.fixed(Double(tokens) / totalSeconds, 1)))
    }
    let width = rows.map(\.0.count).max() ?? 0
    return rows.map { name, value in
      name + ":" + String(repeating: " ", count: width - name.count + 1) + value
    }.joined(separator: "\n")
  }
}
