import DataPipeline
import Support

/// `megatron-export --to_cached_dataset true`: the data of a run, encoded once.
struct CachedDatasetExport {
  let options: ExportOptions
  /// An `.h5` file, or a folder for it.
  let output: String

  /// - Returns: lines for the log.
  /// - Throws: faults of the model folder, the template and the data; `FILE-003`.
  func run() throws(Fault) -> [String] {
    let folder = try ModelFolder(
      model: options.model.model, checkpoint: options.export.mcoreModel,
      hub: HubAccess(
        options.report.launch, options.model, files: .description), weightsAreGiven: false)
    // The data of a run depend on these of its options alone.
    var training = TrainingOptions()
    training.data = options.data
    training.template = options.template
    training.model = options.model
    training.report = options.report
    let data = try DataSetup(training, folder, dataParallel: (0, 1))
    let isFile = output.hasSuffix(".h5") || output.hasSuffix(".hdf5")
    let path = isFile ? output : output + "/" + CachedDatasetWriter.fileName
    let writer = CachedDatasetWriter(
      path: path, parts: output + ".parts", keepsPatches: options.export.cachedMedia == .patches)
    return try data.writeCached(writer) + ["wrote \(path)"]
  }
}
