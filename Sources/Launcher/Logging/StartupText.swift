import Support

/// Lines at the start and the turns of a run that users search their logs for.
public enum StartupText {
  /// `rank: 0, local_rank: 0, world_size: 1, local_world_size: 1`.
  public static func world(_ world: WorldInfo) -> String {
    "rank: \(world.rank), local_rank: \(world.localRank), world_size: \(world.size), "
      + "local_world_size: \(world.localSize)"
  }

  /// The dump of all arguments, as in `args.json`, on one line.
  public static func arguments(_ json: JSONValue) -> String { "args: " + json.write(.python) }

  /// - Parameters: numbers of elements.
  public static func parameters(
    rank: Int, model: String, all: Int, trainable: Int, buffers: Int = 0
  ) -> String {
    func millions(_ count: Int) -> String { NumberText.fixed(Double(count) / 1e6, 4) + "M" }
    let share = NumberText.fixed(all > 0 ? 100 * Double(trainable) / Double(all) : 0, 4)
    return "[rank\(rank)] model_parameter_info: \(model): \(millions(all)) Params "
      + "(\(millions(trainable)) Trainable [\(share)%]), \(millions(buffers)) Buffers."
  }

  /// Statistics of the lengths of rows, or of packs when they are packed.
  public static func lengths(_ lengths: [Int]) -> String {
    guard !lengths.isEmpty else { return "Dataset Token Length: no rows, size=0" }
    let count = Double(lengths.count)
    let mean = lengths.reduce(0.0) { $0 + Double($1) } / count
    let variance = lengths.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / count
    func six(_ value: Double) -> String { NumberText.fixed(value, 6) }
    return "Dataset Token Length: \(six(mean))±\(six(variance.squareRoot())), "
      + "min=\(six(Double(lengths.min() ?? 0))), max=\(six(Double(lengths.max() ?? 0))), "
      + "size=\(lengths.count)"
  }

  /// - Parameter epoch: from 0.
  public static func epochStarts(_ epoch: Int) -> String {
    "The training of Epoch \(epoch) starts..."
  }

  public static func epochsCompleted(_ epochs: Int) -> String {
    "Training of \(epochs) epochs has been completed, the training has finished."
  }

  public static func evalIters(_ count: Int) -> String { "Setting args.eval_iters: \(count)" }
  public static func loggingPath(_ path: String) -> String { "logging_path: \(path)" }
  public static func evaluating(samples: Int) -> String { "Evaluating on \(samples) samples" }
  public static func evaluating(_ step: Int, of all: Int) -> String {
    "Evaluating iter \(step)/\(all)"
  }
}
