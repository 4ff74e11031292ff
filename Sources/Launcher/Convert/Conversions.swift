import Checkpoint
import Foundation
import Model
import Parallel
import Support
import Tensor

/// Published folder to Megatron checkpoint and back, in bounded memory. All ranks call it and share
/// the files; what comes out does not depend on their number.
struct Conversions {
  let options: ExportOptions
  let folder: ModelFolder
  let world: any Communicator
  let threads: Int
  let output: String
  let logger: Logger
  var isStopped: @Sendable () -> Bool = { false }

  /// The last part of the name of a folder that a stopped conversion leaves.
  static let id = "conversion"

  /// Whether a folder holds what a stopped conversion left, so that the next one goes on in it.
  static func isUnfinished(_ output: String) -> Bool {
    let commit = CheckpointCommit(root: output, name: .iteration(1), id: id)
    return [commit.staging, output + "/" + PublishedExport.staging].contains {
      Folder.kind($0) == .folder
    }
  }

  private var dtype: DType? { options.model.torchDType?.dtype }

  /// Writes `iter_0000001`, the tracker, `args.json` and the files of the model.
  /// - Throws: `MODEL-103` when the weights do not fit config.json; `FILE-003`, `CKPT-1xx`.
  func toMegatron() throws(Fault) {
    let (map, published) = try world.agreeing { () throws(Fault) -> (NameMap, PublishedFolder) in
      let published = try PublishedFolder(folder.path, use: .once)
      let experts = ExpertLayout.of(published, folder.config)
      if experts.isGuess {
        logger.warning(
          "the shapes of the experts do not tell their order; taken as "
            + "\(experts.layout.rawValue) by transformers_version of config.json")
      }
      let map = NameMap(folder.config, experts: experts.layout)
      for note in try PublishedNames(map, published).check(at: folder.path) {
        logger.warning(note)
      }
      return (map, published)
    }
    let bytes = published.folder.tensors.reduce(0) { $0 + $1.byteCount }
    let tools = ConversionTools()
    let units = DistUnits.files(
      tensors: try WeightShards.all(
        PublishedWeightSource(published, map), map, dtype: dtype, tools: tools),
      objects: options.export.teExtraState
        ? MegatronObjects.extraState(folder.config, options.export.teExtraStateForm) : [],
      count: options.export.threadCount ?? max((bytes + 9_999_999_999) / 10_000_000_000, 2))
    let commit = CheckpointCommit(root: output, name: .iteration(1), id: Self.id)
    try world.agreeing { () throws(Fault) in
      if world.rank == 0 { try commit.prepare() }
    }
    let written = try StreamedWrite(
      world: world, threads: threads, staging: commit.staging,
      purpose: ConversionPurpose.text(
        folder.path, source: try SourceState.files(folder.path), dtype: dtype,
        experts: nil, files: units.map(\.file)),
      logger: logger, isStopped: isStopped
    ).run(units.map(\.file))
    try world.agreeing { () throws(Fault) in
      guard world.rank == 0 else { return }
      try finish(commit, zip(units, written).map { $0.report($1) })
    }
    say(tensors: map.all.count, overflows: try world.total(tools.overflows))
  }

  private func finish(_ commit: CheckpointCommit, _ reports: [RankReport]) throws(Fault) {
    // What another attempt made after the data, and the notes of this one.
    let data = Set(reports.flatMap(\.files).map(\.name))
    for name in try Folder.names(commit.staging) where !data.contains(name) {
      try Folder.remove(commit.staging + "/" + name)
    }
    let common = MegatronCommon(folder.config, iteration: 1).state
    let files = try TorchDistWriter.finish(commit.staging, reports: reports, common: common)
    try commit.finish(files: files)
    try writeArguments()
    try folder.copyCompanions(to: output, replacing: options.export.existOK)
  }

  /// Writes safetensors files, the index and the files of the model.
  func toPublished() throws(Fault) {
    guard let path = options.export.mcoreModel else {
      throw Fault(.wrongOptions, "Please specify `--mcore_model`.", at: .flag("mcore_model"))
    }
    let location = try CheckpointLocator.resolve(path)
    let export = PublishedExport(
      folder: folder, world: world, threads: threads, logger: logger, dtype: dtype,
      maxShardBytes: options.export.maxShardBytes ?? 5_000_000_000,
      experts: options.export.expertOrder, isStopped: isStopped,
      replacesFiles: options.export.existOK)
    let result = try export.write(location.folder, to: output)
    try world.agreeing { () throws(Fault) in
      if world.rank == 0 { try copyArguments(from: location.root) }
    }
    say(tensors: result.tensors, overflows: result.overflows)
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

  private func say(tensors: Int, overflows: Int) {
    if overflows > 0 {
      logger.warning("\(overflows) values became infinite in float16")
    }
    logger.info("wrote \(tensors) tensors to \(output)")
  }
}
