import Checkpoint
import Foundation
import Model
import Parallel
import Support
import Tensor

/// The body of `megatron-parity`.
public enum ParityEntry {
  /// - Returns: 0 when everything compared equal within its tolerance, 1 otherwise.
  public static func run(_ options: ParityOptions) throws(Fault) -> ExitCode {
    let launch = LaunchEnvironment(ProcessInfo.processInfo.environment)
    return try RankJob.run(launch) { (world) throws(Fault) in
      if world.rank == 0, let line = options.report.inertLine {
        Logger(level: options.logging.level).info(line)
      }
      var failures = 0
      if options.parity.dataGolden != nil {
        failures += try DataParity(options: options, isSpeaker: world.rank == 0).run()
      }
      if options.model.model != nil {
        for folder in options.parity.golden {
          failures += try model(options, golden: folder, world, launch)
        }
      }
      return failures == 0 ? .done : .differs
    }
  }

  private static func model(
    _ options: ParityOptions, golden: String, _ world: any Communicator,
    _ launch: LaunchEnvironment
  ) throws(Fault) -> Int {
    guard let folder = options.model.model else { return 0 }
    let config = try QwenConfig(folder: folder)
    let (mesh, groups) = try RankGroups.make(world, MeshShape(options.parallel), config)
    let engine = try options.run.engine(launch)
    let dtype: DType = options.model.torchDType == .bfloat16 ? .bfloat16 : .float32
    try options.run.requireMultiplied(dtype)
    let report: ParityReport
    if let adapter = options.parity.adapters {
      report = try AdapterParity(
        folder: folder, adapter: adapter, golden: golden, dtype: dtype, runs: options.parity.run,
        groups: groups, engine: engine, sequenceParallel: options.parallel.sequenceParallel
      ).run()
    } else {
      report = try ParityProgram(
        folder: folder, golden: golden, dtype: dtype, runs: options.parity.run, groups: groups,
        engine: engine, sequenceParallel: options.parallel.sequenceParallel,
        output: options.parity.output
      ).run()
    }
    if world.rank == 0 {
      Terminal.write(
        "\(golden): \(mesh.layout), \(engine.level), \(engine.threads) threads\n"
          + report.lines.joined(separator: "\n") + "\n", to: .output)
    }
    return report.failures
  }
}
