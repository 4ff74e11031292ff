import Parallel
import Support

/// The body of `megatron-bench`: JSON lines, one per measurement.
public enum BenchEntry {
  /// What `all` measures; steps and generation only of a model that is named, collectives only between ranks.
  static let everything = [
    "peak", "gemm", "grouped", "attention", "ops", "optimizer", "collectives", "step", "generate",
    "data",
  ]

  /// - Throws: `OPT-104` for a kind that is not measured yet, `OPT-103` for one that needs more
  ///   options or ranks.
  public static func run(_ options: BenchOptions) throws(Fault) -> ExitCode {
    try RankJob.run(options.report.launch) { (world) throws(Fault) in
      let bench = try BenchContext(options: options, world: world)
      var table: BenchTable?
      if options.bench.kinds.contains("all") {
        table = try BenchTable(options.bench.table)
        for kind in everything where !lacksInput(kind, options, world) {
          try measure(kind, bench)
        }
      } else {
        for kind in options.bench.kinds { try measure(kind, bench) }
      }
      if world.rank == 0 { try table?.write(bench.lines) }
      return .done
    }
  }

  private static func lacksInput(
    _ kind: String, _ options: BenchOptions, _ world: any Communicator
  ) -> Bool {
    switch kind {
    case "step", "generate": return options.model.model == nil
    case "data": return options.bench.files.isEmpty
    case "collectives": return world.size == 1
    default: return false
    }
  }

  private static func measure(_ kind: String, _ bench: BenchContext) throws(Fault) {
    switch kind {
    case "peak": try PeakBench(bench).run()
    case "gemm": try GEMMBench(bench).run()
    case "grouped": try GroupedBench(bench).run()
    case "attention": try AttentionBench(bench).run()
    case "ops": try OperatorBench(bench).run()
    case "optimizer": try OptimizerBench(bench).run()
    case "collectives": try CollectiveBench(bench).run()
    case "step": try StepBench(bench).run()
    case "data":
      if bench.world.rank == 0 { try DataBench(bench).run() }
    case "generate": try GenerateBench(bench).run()
    default:
      throw Fault(
        .refusedOption, "megatron-bench \(kind) is not built yet", at: .flag("kinds"),
        expected: everything.joined(separator: ", "))
    }
  }
}
