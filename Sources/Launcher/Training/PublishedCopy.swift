import Checkpoint
import Foundation
import Support

/// `--save_safetensors`: the published form of a checkpoint, in `iter_0000120-hf` beside it.
///
/// It is made from the checkpoint as it lies on the disk, by rank 0 alone, one tensor at a time, in
/// a hidden folder that gets its name when it is complete.
struct PublishedCopy {
  let run: TrainingRun
  let id: String

  private func path(_ name: CheckpointName) -> String { "\(run.directory)/\(name.folder)-hf" }

  /// - Throws: `FILE-003`; the checkpoint itself is not touched.
  func write(_ name: CheckpointName) throws(Fault) {
    let hidden = "\(run.directory)/.tmp_\(name.folder)-hf_\(id)"
    do {
      _ = try PublishedExport(folder: run.folder, engine: run.engine)
        .write("\(run.directory)/\(name.folder)", to: hidden)
      let arguments = "\(run.directory)/\(SavedArguments.fileName)"
      if PathText.exists(arguments) {
        try AtomicFile.write(
          try AtomicFile.read(arguments), to: "\(hidden)/\(SavedArguments.fileName)")
      }
      try remove(name)
      try Folder.rename(hidden, to: path(name))
      try Folder.sync(run.directory)
    } catch {
      // What is there is half a model; the fault is what matters.
      try? Folder.remove(hidden)
      throw error
    }
    run.logger.info("saved \(path(name))")
  }

  /// - Throws: `FILE-003`.
  func remove(_ name: CheckpointName) throws(Fault) {
    guard Folder.kind(path(name)) != .nothing else { return }
    try Folder.remove(path(name))
  }
}
