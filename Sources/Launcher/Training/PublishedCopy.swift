import Checkpoint
import Foundation
import Model
import Support

/// `--save_safetensors`: the published form of a checkpoint, in `iter_0000120-hf` beside it; of adapters
/// their PEFT folder, or with `--merge_lora` the model they make of their base.
///
/// It is made from the checkpoint as it lies on the disk, by all ranks together, in a hidden folder
/// that gets its name when it is complete.
struct PublishedCopy {
  let run: TrainingRun
  let id: String

  private func path(_ name: CheckpointName) -> String { "\(run.directory)/\(name.folder)-hf" }

  /// All ranks call it.
  /// - Throws: `FILE-003`; the checkpoint itself is not touched.
  func write(_ name: CheckpointName) throws(Fault) {
    let hidden = "\(run.directory)/.tmp_\(name.folder)-hf_\(id)"
    let world = run.groups.world
    do {
      let checkpoint = "\(run.directory)/\(name.folder)"
      if run.model.adapters == nil {
        _ = try PublishedExport(
          folder: run.folder, world: world, threads: 1, logger: run.logger,
          experts: run.options.checkpoint.expertOrder
        ).write(checkpoint, to: hidden)
      }
      try world.agreeing { () throws(Fault) in
        guard world.rank == 0 else { return }
        if run.model.adapters != nil { try writeAdapter(checkpoint, to: hidden) }
        try publish(name, from: hidden)
      }
    } catch {
      // What is there is half a model; the fault is what matters.
      if world.rank == 0 { try? Folder.remove(hidden) }
      throw error
    }
    run.logger.info("saved \(path(name))")
  }

  private func writeAdapter(_ checkpoint: String, to folder: String) throws(Fault) {
    let adapter = try AdapterCheckpoint(checkpoint, run.folder.config)
    if run.options.tuner.mergeLoRA { return try writeMerged(adapter, to: folder) }
    try AdapterExport(
      map: NameMap(run.folder.config), plan: adapter.plan, baseModel: run.folder.path
    ).write(from: adapter, engine: run.engine, to: folder)
  }

  /// The base comes from its files: in memory it is split over the ranks.
  private func writeMerged(_ adapter: AdapterCheckpoint, to folder: String) throws(Fault) {
    let config = run.folder.config
    let base: any WeightSource =
      if let load = run.options.checkpoint.load {
        try MegatronWeights(try CheckpointLocator.resolve(load).folder, config)
      } else {
        PublishedWeightSource(try PublishedFolder(run.folder.path), config)
      }
    _ = try MergedExport(
      folder: run.folder,
      source: MergedWeights(base: base, adapter: adapter, plan: adapter.plan, engine: run.engine),
      engine: run.engine, experts: run.options.checkpoint.expertOrder
    ).writePublished(to: folder)
  }

  private func publish(_ name: CheckpointName, from hidden: String) throws(Fault) {
    let arguments = "\(run.directory)/\(SavedArguments.fileName)"
    if PathText.exists(arguments) {
      try AtomicFile.write(
        try AtomicFile.read(arguments), to: "\(hidden)/\(SavedArguments.fileName)")
    }
    try remove(name)
    try Folder.rename(hidden, to: path(name))
    try Folder.sync(run.directory)
  }

  /// - Throws: `FILE-003`.
  func remove(_ name: CheckpointName) throws(Fault) {
    guard Folder.kind(path(name)) != .nothing else { return }
    try Folder.remove(path(name))
  }
}
