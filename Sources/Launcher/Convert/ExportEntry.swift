import Foundation
import Model
import Parallel
import Support
import Tensor

/// The body of `megatron-export`.
public enum ExportEntry {
  /// With several ranks the files are shared among them, and are the same.
  public static func run(_ options: ExportOptions) throws(Fault) -> ExitCode {
    SignalFlags.install()
    return try RankJob.run(options.report.launch) { (world) throws(Fault) in
      if let code = try InspectEntry.run(options, world) { return code }
      return try convert(options, world) ? .done : .differs
    }
  }

  /// - Returns: false when the comparison that was asked for finds a difference.
  private static func convert(
    _ options: ExportOptions, _ world: any Communicator
  ) throws(Fault) -> Bool {
    let logger = Logger(level: options.logging.level, rank: world.rank)
    for note in options.report.notes { logger.info(note) }
    for warning in options.report.warnings { logger.warning(warning) }
    if let line = options.report.inertLine { logger.info(line) }
    if options.export.pushes, !options.export.mergeLoRA {
      try PushEntry(options: options, world: world, logger: logger).run()
      return true
    }
    guard let output = options.export.outputDir else {
      throw Fault(.wrongOptions, "no folder to write to", at: .flag("output_dir"))
    }
    if options.export.toCachedDataset {
      // One rank encodes with all threads; the others wait.
      try world.agreeing { () throws(Fault) in
        guard world.rank == 0 else { return }
        for line in try CachedDatasetExport(options: options, output: output).run() {
          logger.info(line)
        }
      }
      return true
    }
    if options.export.merges {
      try world.agreeing { () throws(Fault) in
        guard world.rank == 0 else { return }
        try AdapterConversion(
          options: options, engine: try options.run.engine(options.report.launch), output: output,
          logger: logger
        ).run()
      }
      if options.export.pushes {
        try PushEntry(options: options, world: world, logger: logger).run(output)
      }
      return true
    }
    return try convertWhole(options, world, output, logger)
  }

  private static func convertWhole(
    _ options: ExportOptions, _ world: any Communicator, _ output: String, _ logger: Logger
  ) throws(Fault) -> Bool {
    let folder = try world.agreeing { () throws(Fault) in
      try ModelFolder(
        model: options.model.model, checkpoint: options.export.mcoreModel,
        hub: HubAccess(
          options.report.launch, options.model,
          files: options.export.toHF ? .description : .model),
        overrides: ArchitectureOverrides(
          rope: RopeOverride(
            options.model.ropeScaling, maxModelLength: options.model.maxModelLength)))
    }
    let conversion = Conversions(
      options: options, folder: folder, world: world,
      threads: RankJob.threads(options.run.threads, launch: options.report.launch),
      output: output, logger: logger,
      isStopped: { !SignalFlags.current.isDisjoint(with: [.stop, .stopNow]) })
    if options.export.toMcore {
      try conversion.toMegatron()
    } else {
      try conversion.toPublished()
    }
    guard options.export.testConvertPrecision else { return true }
    return try world.agreeing { () throws(Fault) in
      guard world.rank == 0 else { return true }
      let engine = try options.run.engine(options.report.launch)
      return try ConversionTest(options: options, folder: folder, engine: engine, output: output)
        .run()
    }
  }
}
