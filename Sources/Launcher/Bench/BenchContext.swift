import CKernels
import Parallel
import Support
import Tensor

/// What the measurements of one run share: engine, limits of the machine, where lines go.
///
/// A class because the limits are measured when they are first asked for and kept.
final class BenchContext {
  let options: BenchOptions
  let world: any Communicator
  let engine: Engine
  /// The lines so far, for the table of `all`.
  private(set) var lines: [JSONObject] = []
  private let file: AppendFile?
  private var peaks: [DType: Double] = [:]
  private var copyRate: Double?

  /// - Throws: `OPT-110`, `OPT-111`, `FILE-003`.
  init(options: BenchOptions, world: any Communicator) throws(Fault) {
    self.options = options
    self.world = world
    engine = try options.run.engine(options.report.launch)
    let isWriter = world.rank == 0
    file = try options.bench.output.flatMap { isWriter ? $0 : nil }.map { (path) throws(Fault) in
      try AppendFile(path: path)
    }
  }

  /// Types to measure: that of `--torch_dtype`, else both.
  var types: [DType] {
    guard let type = options.model.torchDType else { return [.bfloat16, .float32] }
    return [type == .float32 ? .float32 : .bfloat16]
  }

  /// The type of kinds that measure one: bf16 unless told otherwise.
  var type: DType { types[0] }

  /// One thread of one process: its processor time is what it needs on an idle machine.
  var countsProcessorTime: Bool { engine.threads == 1 && world.size == 1 }

  /// Floating-point operations per second of the multiply-adds of this level, all threads.
  func peak(_ type: DType) -> Double {
    if let known = peaks[type] { return known }
    var operations = 0.0
    let steps = 200_000
    let timing = measure(seconds: 0.25) {
      engine.kernel { operations = ck_peak($0, type.kernelType, steps) }
    }
    peaks[type] = operations / timing.fastest
    return operations / timing.fastest
  }

  /// Bytes per second, read and written, of a copy that is too large for the caches.
  func copyBandwidth() throws(Fault) -> Double {
    if let copyRate { return copyRate }
    let count = 32 << 20
    let source = try Tensor.zeros([count], .float32, on: engine)
    let target = try Tensor.zeros([count], .float32, on: engine)
    let timing = measure(seconds: 0.5) { engine.convert(source, into: target) }
    let rate = 2 * Double(source.byteCount) / timing.median
    copyRate = rate
    return rate
  }

  /// Times `body`, `--seconds` long and at least `--repeats` times.
  func measure(seconds: Double? = nil, _ body: () -> Void) -> Timing {
    Timing(
      seconds: seconds ?? options.bench.seconds, repeats: options.bench.repeats,
      usesProcessorTime: countsProcessorTime, body)
  }

  /// A measurement bound by arithmetic.
  func say(
    _ kind: String, _ operation: String, _ type: DType, _ shape: JSONObject, _ timing: Timing,
    operations: Double
  ) throws(Fault) {
    let rate = operations / timing.median
    try say(
      line(kind, operation, type, shape, timing) + [
        ("GF/s", JSONValue(rounded(rate / 1e9))),
        ("share_of_peak", JSONValue(rounded(rate / peak(type)))),
      ])
  }

  /// A measurement bound by memory; the peak is that of a copy.
  func say(
    _ kind: String, _ operation: String, _ type: DType, _ shape: JSONObject, _ timing: Timing,
    bytes: Double
  ) throws(Fault) {
    let rate = bytes / timing.median
    try say(
      line(kind, operation, type, shape, timing) + [
        ("GB/s", JSONValue(rounded(rate / 1e9))),
        ("share_of_peak", JSONValue(rounded(rate / (try copyBandwidth())))),
      ])
  }

  /// The fields that every line begins with.
  func line(
    _ kind: String, _ operation: String, _ type: DType, _ shape: JSONObject, _ timing: Timing
  ) -> [(key: String, value: JSONValue)] {
    [
      ("kind", .string(kind)), ("operation", .string(operation)),
      ("machine", .string(Machine.name)), ("level", .string("\(engine.level)")),
      ("threads", JSONValue(engine.threads)), ("ranks", JSONValue(world.size)),
      ("dtype", .string(type == .bfloat16 ? "bfloat16" : "float32")), ("shape", .object(shape)),
      ("clock", .string(countsProcessorTime ? "cpu" : "wall")),
      ("samples", JSONValue(timing.samples.count)), ("median", JSONValue(timing.median)),
      ("spread", JSONValue(rounded(timing.spread))),
    ]
  }

  /// Writes a line on rank 0.
  func say(_ members: [(key: String, value: JSONValue)]) throws(Fault) {
    let object = JSONObject(members)
    lines.append(object)
    guard world.rank == 0 else { return }
    let text = JSONValue.object(object).write(.python)
    if let file { try file.append(line: text) } else { Terminal.write(text + "\n", to: .output) }
  }

  /// Four digits: more would be noise.
  func rounded(_ value: Double) -> Double {
    guard value != 0, value.isFinite else { return value }
    var scale = 1.0
    while abs(value) * scale < 1000 { scale *= 10 }
    return (value * scale).rounded() / scale
  }
}
