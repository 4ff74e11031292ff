import DataPipeline
import Foundation
import Parallel
import Support

/// `megatron-bench --kinds data`: pictures, frames and bytes of text per second on one thread.
struct DataBench {
  let bench: BenchContext
  private var options: BenchOptions { bench.options }
  init(_ bench: BenchContext) { self.bench = bench }

  /// - Throws: `OPT-103` without files, faults of the files.
  func run() throws(Fault) {
    guard !options.bench.files.isEmpty else {
      throw Fault(
        .wrongOptions, "there is nothing to measure", at: .flag("files"),
        fix: "name pictures, clips or texts with --files")
    }
    let tokenizer = try options.bench.tokenizer.map { (folder) throws(Fault) in
      try Tokenizer(folder: folder)
    }
    let cases = try DataMeasurements.all(
      files: options.bench.files, settings: MediaSettings(), tokenizer: tokenizer)
    for measurement in cases { try report(measurement) }
  }

  /// The fastest of the repeats that fit into the time.
  private func report(_ measurement: DataMeasurement) throws(Fault) {
    var best = (wall: Double.infinity, cpu: Double.infinity)
    let begin = Clock.monotonicSeconds()
    var repeats = 0
    while repeats < options.bench.repeats
      || Clock.monotonicSeconds() - begin < options.bench.seconds
    {
      let (wall, cpu) = (Clock.monotonicSeconds(), ProcessMemory.cpuSeconds)
      try measurement.work()
      best.wall = min(best.wall, Clock.monotonicSeconds() - wall)
      best.cpu = min(best.cpu, ProcessMemory.cpuSeconds - cpu)
      repeats += 1
    }
    var line = JSONObject([
      ("kind", .string("data")), ("bench", .string("data")), ("case", .string(measurement.name)),
      ("unit", .string(measurement.unit)), ("count", JSONValue(measurement.count)),
    ])
    for (key, value) in measurement.facts.members { line[key] = value }
    line["wall_s"] = JSONValue(best.wall)
    line["cpu_s"] = JSONValue(best.cpu)
    line["repeats"] = JSONValue(repeats)
    line["per_s"] = JSONValue(Double(measurement.count) / best.wall)
    line["per_cpu_s"] = JSONValue(Double(measurement.count) / best.cpu)
    try bench.say(line.members)
  }
}
