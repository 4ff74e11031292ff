import Parallel
import Support

/// The body of `megatron-sft` and `megatron-pt`.
public enum TrainingEntry {
  /// - Returns: 0 when training is complete, 75 when it stopped on request with a checkpoint.
  public static func run(_ options: TrainingOptions) throws(Fault) -> ExitCode {
    SignalFlags.install()
    return try RankJob.run(
      options.report.launch, overlaps: options.parallel.overlapGradReduce
    ) { (world) throws(Fault) in
      if options.run.doctor { return try DoctorEntry(options: options, world: world).run() }
      let run = try TrainingBuilder(options: options, world: world).build()
      return try Trainer(run).train()
    }
  }
}
