import Checkpoint
import Support

/// A checkpoint that a run begins from: where it lies and how far its run had come.
struct LoadedCheckpoint {
  let root: String
  let folder: String
  let iteration: Int
  let consumedTrainSamples: Int
  /// Whether optimizer states lie beside the weights.
  let hasOptimizer: Bool

  /// - Parameters:
  ///   - path: the folder with the tracker, or an iteration folder.
  ///   - fallback: what a damaged newest checkpoint means (`--on_corrupt`).
  /// - Throws: `CKPT-…`.
  init(_ path: String, fallback: CheckpointLocator.Fallback = .stop) throws(Fault) {
    let location = try CheckpointLocator.resolve(path, fallback: fallback)
    root = location.root
    folder = location.folder
    let common = try CommonState(folder: location.folder)
    iteration = common.iteration
    consumedTrainSamples = common[arg: "consumed_train_samples"]?.int ?? 0
    hasOptimizer = common.optimizer != nil
  }
}
