import Foundation
import Parallel
import Support

/// The body of `megatron-bench`: JSON lines, one per measurement.
public enum BenchEntry {
  /// - Throws: `OPT-103` for a kind that is not measured yet.
  public static func run(_ options: BenchOptions) throws(Fault) -> ExitCode {
    try RankJob.run(options.report.launch) { (world) throws(Fault) in
      for kind in options.bench.kinds {
        if kind == "generate" {
          try GenerateBench(options: options, world: world).run()
          continue
        }
        guard kind == "step" else {
          throw Fault(
            .wrongOptions, "megatron-bench \(kind) is not built yet", at: .flag("kinds"),
            expected: "step, generate")
        }
        try StepBench(options: options, world: world).run()
      }
      return .done
    }
  }
}
