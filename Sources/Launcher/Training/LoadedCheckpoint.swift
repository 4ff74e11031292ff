import Checkpoint
import Foundation
import Parallel
import Support

/// A checkpoint that a run begins from: found, complete, and every byte compared with its checksum.
struct LoadedCheckpoint {
  let root: String
  let folder: String
  let iteration: Int
  let common: CommonState
  /// Of the checked content: parts are read without their checksums being taken again.
  let reader: TorchDistReader
  /// nil in a checkpoint of another program.
  let state: RunState?

  /// Finds the checkpoint that a path means, on all ranks the same, and shares the work of checking it.
  /// - Parameters:
  ///   - path: the folder with the tracker, or an iteration folder.
  ///   - fallback: what a damaged newest checkpoint means (`--on_corrupt`).
  /// - Communication: agreement and a few words over `world`.
  /// - Throws: on all ranks `CKPT-…`.
  static func open(
    _ path: String, fallback: CheckpointLocator.Fallback, world: any Communicator,
    logger: Logger
  ) throws(Fault) -> LoadedCheckpoint {
    var damaged: CheckpointName?
    while true {
      var location = ""
      try world.agreeing { () throws(Fault) in
        guard world.rank == 0 else { return }
        for note in try CheckpointFolder.mend(path, now: Int(Date().timeIntervalSince1970)) {
          logger.info("\(path): \(note)")
        }
        location = try find(path, fallback, below: damaged)
      }
      let folder = try world.shared(location)
      do throws(Fault) {
        return try world.agreeing { () throws(Fault) in
          try ContentCheck.verify(folder, part: world.rank, of: world.size)
          return try LoadedCheckpoint(folder: folder)
        }
      } catch {
        let name = CheckpointName(folder: Folder.name(folder))
        guard fallback == .newestComplete, error.code.exit == .corruptCheckpoint, let name,
          folder != path
        else { throw error }
        logger.warning("\(folder) is damaged: \(error.message)")
        damaged = name
      }
    }
  }

  private static func find(
    _ path: String, _ fallback: CheckpointLocator.Fallback, below damaged: CheckpointName?
  ) throws(Fault) -> String {
    guard let damaged else { return try CheckpointLocator.resolve(path, fallback: fallback).folder }
    guard let name = CheckpointLocator.newestComplete(path, below: damaged) else {
      throw Fault(
        .incompleteCheckpoint, "there is no sound checkpoint below \(damaged)", at: .file(path),
        fix: "name another folder, or begin anew")
    }
    return path + "/" + name.folder
  }

  private init(folder: String) throws(Fault) {
    self.folder = folder
    root = CheckpointName(folder: Folder.name(folder)) == nil ? folder : Folder.parent(folder)
    common = try CommonState(folder: folder)
    reader = try TorchDistReader(folder, verify: false)
    state = try RunState(reader)
    // The word release and a conversion begin a run.
    iteration = Folder.name(folder) == CheckpointName.release.folder ? 0 : common.iteration
  }

  var consumedTrainSamples: Int { common[arg: "consumed_train_samples"]?.int ?? 0 }
  var consumedValidationSamples: Int { common[arg: "consumed_valid_samples"]?.int ?? 0 }
}
