import CKernels
import Support
import Tensor

/// The limits of this machine that all shares are taken of.
struct PeakBench {
  let bench: BenchContext
  init(_ bench: BenchContext) { self.bench = bench }

  func run() throws(Fault) {
    let engine = bench.engine
    for type in bench.types {
      var operations = 0.0
      let timing = bench.measure {
        engine.kernel { operations = ck_peak($0, type.kernelType, 200_000) }
      }
      try bench.say(
        "peak", "multiply_add", type, JSONObject(), timing, operations: operations)
    }
    let count = 32 << 20
    let x = try Tensor.zeros([count], .float32, on: engine)
    let y = try Tensor.zeros([count], .float32, on: engine)
    let shape = JSONObject([("elements", JSONValue(count))])
    let bytes = Double(x.byteCount)
    let copy = bench.measure { engine.convert(x, into: y) }
    try bench.say("peak", "copy", .float32, shape, copy, bytes: 2 * bytes)
    let read = bench.measure { _ = engine.absMax(x) }
    try bench.say("peak", "read", .float32, shape, read, bytes: bytes)
    let write = bench.measure { engine.kernel { ck_fill($0, count, 1, y.pointer(as: Float.self)) } }
    try bench.say("peak", "write", .float32, shape, write, bytes: bytes)
  }
}
