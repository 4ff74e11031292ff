import DataPipeline
import Parallel
import Support

/// `--doctor true`: the data sets of a run are examined, and nothing is trained.
struct DoctorEntry {
  let options: TrainingOptions
  let world: any Communicator

  /// - Returns: 0 for data without faults, 65 otherwise. Rank 0 examines, the others wait.
  /// - Throws: faults of the model folder or of the options.
  func run() throws(Fault) -> ExitCode {
    var faults = 0
    try world.agreeing { () throws(Fault) in
      if world.rank == 0 { faults = try examine() }
    }
    let all = try world.allDoubles(Double(faults)).reduce(0, +)
    return all == 0 ? .done : .badData
  }

  private func examine() throws(Fault) -> Int {
    let start = Clock.monotonicSeconds()
    let folder = try ModelFolder(
      model: options.model.model, checkpoint: options.checkpoint.load,
      hub: HubAccess(
        options.report.launch, options.model, files: .description),
      overrides: ArchitectureOverrides(options), weightsAreGiven: false)
    let data = try DataSetup(options, folder, dataParallel: (0, 1))
    let report = try data.doctor().examine()
    for line in report.lines { Terminal.write(line + "\n", to: .output) }
    let seconds = NumberText.fixed(Clock.monotonicSeconds() - start, 1)
    Terminal.write(
      "doctor: examined in \(seconds) s, peak memory \(ProcessMemory.peakBytes >> 20) MiB\n",
      to: .output)
    Terminal.write(
      report.faults == 0
        ? "doctor: no faults\n"
        : "doctor: \(report.faults) fault\(report.faults == 1 ? "" : "s")\n", to: .output)
    return report.faults
  }
}
