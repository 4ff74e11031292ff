import Checkpoint
import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor

/// The folders of the form of swift sft: `checkpoint-N` with what its programs read (an adapter, or a
/// published model) and the training state below it. A folder gets its name when it is complete.
struct SwiftFormFolder {
  let run: TrainingRun
  /// Tells this save from others.
  let id: String

  static let prefix = "checkpoint-"

  var name: String { Self.prefix + "\(run.position.iteration)" }
  var path: String { run.directory + "/" + name }

  static func path(_ run: TrainingRun, _ iteration: Int) -> String {
    "\(run.directory)/\(prefix)\(iteration)"
  }

  /// Where a save is put together: the training state commits inside it.
  var staging: String { "\(run.directory)/.tmp_\(name)_\(id)" }

  /// What goes beside the training state.
  ///
  /// All ranks call it; rank 0 writes.
  /// - Throws: `FILE-003` on all ranks.
  func write() throws(Fault) {
    let world = run.groups.world
    let adapter = try wholeAdapter()
    if adapter == nil {
      let checkpoint = CheckpointName.iteration(run.position.iteration).folder
      _ = try PublishedExport(
        folder: run.folder, world: world, threads: 1, logger: run.logger,
        experts: run.options.checkpoint.expertOrder
      ).write(staging + "/" + checkpoint, to: staging)
    }
    try world.agreeing { () throws(Fault) in
      guard world.rank == 0 else { return }
      let folder = staging
      if let adapter, let plan = run.model.adapters {
        let export = AdapterExport(
          map: NameMap(run.folder.config), plan: plan, baseModel: run.folder.path)
        try export.write(adapter, to: folder)
        try AtomicFile.write(additionalConfig, to: folder + "/additional_config.json")
      }
      try AtomicFile.write(
        try AtomicFile.read(run.directory + "/" + SavedArguments.fileName),
        to: folder + "/" + SavedArguments.fileName)
      try AtomicFile.write(
        JSONValue.object(trainerState).write(.indented) + "\n",
        to: folder + "/trainer_state.json")
    }
  }

  /// Gives the folder its name and removes those beyond `--save_total_limit`, on rank 0.
  /// - Throws: `FILE-003`.
  func finish() throws(Fault) {
    if Folder.kind(path) != .nothing { try Folder.remove(path) }
    try Folder.rename(staging, to: path)
    try Folder.sync(run.directory)
    guard let keep = run.options.checkpoint.saveTotalLimit else { return }
    for name in try surplus(keep: keep) { try Folder.remove(run.directory + "/" + name) }
  }

  /// The oldest beyond the limit; the newest and the best stay.
  func surplus(keep: Int) throws(Fault) -> [String] {
    let steps = try Folder.names(run.directory).compactMap { name -> Int? in
      name.hasPrefix(Self.prefix) ? Int(name.dropFirst(Self.prefix.count)) : nil
    }.sorted()
    let best = run.best?.iteration
    var removable = steps.dropLast().filter { $0 != best }
    let count = max(0, steps.count - max(1, keep))
    removable = Array(removable.prefix(count))
    return removable.map { Self.prefix + "\($0)" }
  }

  /// The adapter of all ranks, whole; nil when whole weights are trained.
  private func wholeAdapter() throws(Fault) -> [String: [Float]]? {
    guard run.model.adapters != nil else { return nil }
    let whole = WholeAdapter(
      model: run.model, map: NameMap(run.folder.config), groups: run.groups)
    return try whole.values { $0.tensor.values }
  }

  private var additionalConfig: String {
    var root = JSONObject()
    root["lora_dtype"] = run.options.tuner.loraDType.map { .string($0.rawValue) } ?? .null
    root["lorap_lr_ratio"] = .null
    root["lorap_emb_lr"] = JSONValue(1e-6)
    return JSONValue.object(root).write(.indented) + "\n"
  }

  private var trainerState: JSONObject {
    let options = run.options
    let rows = run.source.schedule?.layout.usableRows ?? 0
    var root = JSONObject()
    root["best_metric"] = run.best.map { JSONValue($0.loss) } ?? .null
    root["best_model_checkpoint"] =
      run.best.map { .string("\(run.directory)/\(Self.prefix)\($0.iteration)") } ?? .null
    root["epoch"] =
      rows > 0 ? JSONValue(Double(run.position.consumedTrainSamples) / Double(rows)) : .null
    root["eval_steps"] = options.logging.evalInterval.map { JSONValue($0) } ?? .null
    root["global_step"] = JSONValue(run.position.iteration)
    root["logging_steps"] = JSONValue(options.logging.logInterval)
    root["max_steps"] = JSONValue(run.trainIterations)
    root["num_train_epochs"] = JSONValue(options.swift.numTrainEpochs)
    root["save_steps"] = JSONValue(options.checkpoint.saveInterval)
    root["train_batch_size"] = JSONValue(options.schedule.microBatchSize)
    return root
  }
}
