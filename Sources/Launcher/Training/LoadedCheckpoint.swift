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

  /// - Parameter path: the folder with the tracker, or an iteration folder.
  /// - Throws: `CKPT-…`.
  init(_ path: String) throws(Fault) {
    let location = try CheckpointLocator.resolve(path)
    root = location.root
    folder = location.folder
    let common = try CommonState(folder: location.folder)
    iteration = common.iteration
    consumedTrainSamples = common[arg: "consumed_train_samples"]?.int ?? 0
    hasOptimizer = common.optimizer != nil
  }
}
