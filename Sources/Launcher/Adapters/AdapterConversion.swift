import Checkpoint
import Foundation
import Model
import Support
import Tensor

/// `--merge_lora`, `--mcore_adapters`: an adapter and its base become one model.
struct AdapterConversion {
  let options: ExportOptions
  let engine: Engine
  let output: String
  let logger: Logger

  /// An adapter with the base it belongs to.
  private struct Merge {
    let folder: ModelFolder
    let base: any WeightSource
    let adapter: any WeightSource
    let plan: AdapterPlan
    /// Where `args.json` lies.
    let root: String
  }

  /// - Throws: `FILE-001` when the base is nowhere, `CKPT-161`, `FILE-003`.
  func run() throws(Fault) {
    if options.export.mergeLoRA, PathText.exists(output), !options.export.existOK {
      return logger.info("\(output) is there already and is used as it is")
    }
    let merge = try merge()
    if options.export.toPEFT {
      try AdapterExport(
        map: NameMap(merge.folder.config), plan: merge.plan, baseModel: merge.folder.path
      ).write(from: merge.adapter, engine: engine, to: output)
      try copyArguments(from: merge.root)
      return logger.info("wrote \(merge.plan.sites.count) adapters to \(output)")
    }
    let export = MergedExport(
      folder: merge.folder,
      source: MergedWeights(
        base: merge.base, adapter: merge.adapter, plan: merge.plan, engine: engine,
        dtype: options.model.torchDType?.dtype),
      engine: engine, dtype: options.model.torchDType?.dtype,
      maxShardBytes: options.export.maxShardBytes ?? 5_000_000_000,
      experts: options.export.expertOrder,
      replacesFiles: options.export.existOK)
    let count: Int
    if options.export.toMcore {
      count = try export.writeMegatron(
        to: output, files: options.export.threadCount ?? 2,
        extraState: options.export.teExtraState ? options.export.teExtraStateForm : nil)
    } else {
      count = try export.writePublished(to: output)
    }
    try copyArguments(from: merge.root)
    logger.info(
      "merged \(merge.plan.sites.count) adapters; wrote \(count) tensors to \(output)")
  }

  private func merge() throws(Fault) -> Merge {
    if let path = options.export.mcoreAdapters.first { return try megatron(path) }
    guard let path = options.export.adapters.first else {
      throw Fault(
        .wrongOptions, "no adapter to merge", at: .flag("adapters"),
        expected: "--adapters DIR or --mcore_adapters DIR")
    }
    let adapter = try AdapterFolder(try access.adapter(path))
    let folder = try modelFolder(options.model.model ?? adapter.config.baseModel)
    let map = NameMap(folder.config)
    let published = try PublishedAdapter(adapter, map)
    return Merge(
      folder: folder, base: try base(folder, map), adapter: published, plan: published.plan,
      root: adapter.path)
  }

  private func megatron(_ path: String) throws(Fault) -> Merge {
    let location = try CheckpointLocator.resolve(PathText.absolute(path))
    let arguments = try SavedArguments.read(in: location.root) ?? JSONObject()
    let load = options.export.mcoreModel ?? arguments["load"]?.string
    let folder = try modelFolder(options.model.model ?? arguments["model"]?.string, load)
    let checkpoint = try AdapterCheckpoint(path, folder.config)
    let base: any WeightSource
    if let load {
      base = try MegatronWeights(try CheckpointLocator.resolve(load).folder, folder.config)
    } else {
      base = try self.base(folder, NameMap(folder.config))
    }
    return Merge(
      folder: folder, base: base, adapter: checkpoint, plan: checkpoint.plan, root: location.root)
  }

  private func base(_ folder: ModelFolder, _ map: NameMap) throws(Fault) -> any WeightSource {
    if let load = options.export.mcoreModel {
      return try MegatronWeights(try CheckpointLocator.resolve(load).folder, folder.config)
    }
    return PublishedWeightSource(try PublishedFolder(folder.path), map)
  }

  private var access: HubAccess {
    HubAccess(
      options.report.launch, options.model,
      files: options.export.mcoreModel == nil ? .model : .description)
  }

  private func modelFolder(_ model: String?, _ checkpoint: String? = nil) throws(Fault)
    -> ModelFolder
  {
    try ModelFolder(
      model: model, checkpoint: checkpoint ?? options.export.mcoreModel,
      hub: access)
  }

  private func copyArguments(from root: String) throws(Fault) {
    let path = root + "/" + SavedArguments.fileName
    guard PathText.exists(path) else { return }
    try AtomicFile.write(try AtomicFile.read(path), to: output + "/" + SavedArguments.fileName)
  }
}
