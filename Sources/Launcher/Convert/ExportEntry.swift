import Foundation
import Model
import Parallel
import Support
import Tensor

/// The body of `megatron-export`.
public enum ExportEntry {
  /// With several ranks, rank 0 converts and the others wait: the files are the same.
  public static func run(_ options: ExportOptions) throws(Fault) -> ExitCode {
    try RankJob.run(options.report.launch) { (world) throws(Fault) in
      try world.agreeing { () throws(Fault) in
        if world.rank == 0 { try convert(options) }
      }
      return .done
    }
  }

  private static func convert(_ options: ExportOptions) throws(Fault) {
    let logger = Logger(level: options.logging.level)
    for note in options.report.notes { logger.info(note) }
    for warning in options.report.warnings { logger.warning(warning) }
    if let line = options.report.inertLine { logger.info(line) }
    guard let output = options.export.outputDir else {
      throw Fault(.wrongOptions, "no folder to write to", at: .flag("output_dir"))
    }
    let engine = try options.run.engine(options.report.launch)
    let folder = try ModelFolder(
      model: options.model.model, checkpoint: options.export.mcoreModel,
      hub: ModelFolder.Hub(options.report.launch, options.model))
    let conversion = Conversions(
      options: options, folder: folder, engine: engine, output: output, logger: logger)
    if options.export.toMcore {
      try conversion.toMegatron()
    } else {
      try conversion.toPublished()
    }
    if options.export.testConvertPrecision {
      try ConversionTest(options: options, folder: folder, engine: engine, output: output).run()
    }
  }
}
