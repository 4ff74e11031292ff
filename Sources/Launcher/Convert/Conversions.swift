import Checkpoint
import Foundation
import Model
import Support
import Tensor

/// Published folder to Megatron checkpoint and back, one tensor at a time.
struct Conversions {
  let options: ExportOptions
  let folder: ModelFolder
  let engine: Engine
  let output: String
  let logger: Logger

  private var dtype: DType? { options.model.torchDType?.dtype }

  /// Writes `iter_0000001`, the tracker, `args.json` and the files of the model.
  /// - Throws: `MODEL-103` when the weights do not fit config.json; `FILE-003`, `CKPT-1xx`.
  func toMegatron() throws(Fault) {
    let map = NameMap(folder.config)
    let published = try PublishedFolder(folder.path)
    try checkComplete(published, map)
    let source = PublishedWeightSource(published, map)
    let cast = ElementCast(engine: engine)
    let commit = CheckpointCommit(
      root: output, name: .iteration(1), id: String(UInt32.random(in: 0...UInt32.max), radix: 36))
    try commit.prepare()
    let bytes = published.folder.tensors.reduce(0) { $0 + $1.byteCount }
    let files = options.export.threadCount ?? max((bytes + 9_999_999_999) / 10_000_000_000, 2)
    let report = try TorchDistWriter.write(
      tensors: try WeightShards.all(source, map, dtype: dtype, convert: cast.convert),
      objects: options.export.teExtraState ? MegatronObjects.extraState(folder.config) : [],
      to: commit.staging, rank: 0, files: files)
    let common = MegatronCommon(folder.config, iteration: 1).state
    let written = try TorchDistWriter.finish(commit.staging, reports: [report], common: common)
    try commit.finish(files: written)
    try writeArguments()
    try folder.copyCompanions(to: output, replacing: options.export.existOK)
    finish(tensors: map.all.count, overflows: cast.overflows)
  }

  /// Every published tensor must be used, and every one we need must be there.
  private func checkComplete(_ published: PublishedFolder, _ map: NameMap) throws(Fault) {
    let needed = Dictionary(uniqueKeysWithValues: map.published.map { ($0.name, $0.shape) })
    var wrong: [String] = []
    for (name, shape) in map.published {
      guard let found = published.describe(published: name) else {
        wrong.append("\(name) is missing")
        continue
      }
      if found.shape != shape { wrong.append("\(name) is \(found.shape), expected \(shape)") }
    }
    for tensor in published.folder.tensors where needed[tensor.name] == nil {
      if folder.config.tiesEmbeddings, tensor.name == "lm_head.weight" {
        logger.warning("lm_head.weight is ignored: the embeddings are tied")
        continue
      }
      wrong.append("\(tensor.name) belongs to no part of the model")
    }
    guard wrong.isEmpty else {
      throw Fault(
        .badModelWeights, "the weights do not fit config.json", at: .file(folder.path),
        found: wrong.prefix(8).joined(separator: "; ")
          + (wrong.count > 8 ? "; and \(wrong.count - 8) more" : ""))
    }
  }

  /// Writes safetensors files, the index and the files of the model.
  func toPublished() throws(Fault) {
    guard let path = options.export.mcoreModel else {
      throw Fault(.wrongOptions, "Please specify `--mcore_model`.", at: .flag("mcore_model"))
    }
    let location = try CheckpointLocator.resolve(path)
    let export = PublishedExport(
      folder: folder, engine: engine, dtype: dtype,
      maxShardBytes: options.export.maxShardBytes ?? 5_000_000_000,
      replacesFiles: options.export.existOK)
    let result = try export.write(location.folder, to: output)
    try copyArguments(from: location.root)
    finish(tensors: result.tensors, overflows: result.overflows)
  }

  private func writeArguments() throws(Fault) {
    var derived = JSONObject()
    derived["padded_vocab_size"] = JSONValue(folder.config.vocabularySize)
    try AtomicFile.write(
      options.argumentsJSON(adding: derived).write(.indented),
      to: output + "/" + SavedArguments.fileName)
  }

  private func copyArguments(from root: String) throws(Fault) {
    let path = root + "/" + SavedArguments.fileName
    guard FileManager.default.fileExists(atPath: path) else { return }
    try AtomicFile.write(try AtomicFile.read(path), to: output + "/" + SavedArguments.fileName)
  }

  private func finish(tensors: Int, overflows: Int) {
    if overflows > 0 {
      logger.warning("\(overflows) values became infinite in float16")
    }
    logger.info("wrote \(tensors) tensors to \(output)")
  }
}
