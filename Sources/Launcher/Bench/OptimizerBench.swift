import CKernels
import Support
import Tensor

/// AdamW over 32 Mi parameters in its forms of storage, and the norm that clipping needs.
struct OptimizerBench {
  let bench: BenchContext
  private var engine: Engine { bench.engine }
  private static let count = 32 << 20
  init(_ bench: BenchContext) { self.bench = bench }

  func run() throws(Fault) {
    try adamW("adamw_float32", weight: .float32, master: CK_MASTER_F32, state: .float32)
    try adamW("adamw_bfloat16_master", weight: .bfloat16, master: CK_MASTER_F32, state: .float32)
    try adamW(
      "adamw_bfloat16_remainder", weight: .bfloat16, master: CK_MASTER_REMAINDER, state: .float32)
    try adamW(
      "adamw_bfloat16_states", weight: .bfloat16, master: CK_MASTER_REMAINDER, state: .bfloat16)
    try norms()
  }

  /// - Parameters:
  ///   - weight: type of the model's weight; fp32 is its own master.
  ///   - state: type of both moments.
  private func adamW(_ name: String, weight: DType, master: ck_master, state: DType) throws(Fault) {
    let n = Self.count
    let gradient = try Tensor.noise([n], .float32, on: engine)
    let parameter = try Tensor.noise([n], weight, on: engine)
    let m = try Tensor.zeros([n], state, on: engine)
    let v = try Tensor.zeros([n], state, on: engine)
    let hasMaster = master == CK_MASTER_F32 && weight != .float32
    let wide = try Tensor.zeros([hasMaster ? n : 1], .float32, on: engine)
    let remainder = try Tensor.zeros([master == CK_MASTER_REMAINDER ? n : 1], .int16, on: engine)
    var a = ck_adamw_args()
    (a.n, a.master_kind) = (n, master)
    a.master = hasMaster ? wide.pointer(as: Float.self) : parameter.pointer(as: Float.self)
    a.remainder = remainder.pointer(as: Int16.self)
    a.param = weight == .float32 ? nil : parameter.address
    a.param_type = weight.kernelType
    (a.grad, a.grad_type) = (UnsafeRawPointer(gradient.address), CK_F32)
    (a.m, a.v, a.m_type, a.v_type) = (m.address, v.address, state.kernelType, state.kernelType)
    (a.grad_scale, a.beta1, a.beta2) = (1, 0.9, 0.95)
    (a.lr, a.eps, a.weight_decay, a.bias1, a.bias2) = (1e-5, 1e-8, 0.1, 0.1, 0.05)
    let timing = bench.measure { engine.kernel { ck_adamw($0, &a) } }
    // The gradient is read; everything else is read and written, a rounded copy only written.
    let states = 2 * (m.byteCount + v.byteCount)
    let weights =
      hasMaster
      ? 2 * wide.byteCount + parameter.byteCount
      : 2 * (parameter.byteCount + (remainder.count > 1 ? remainder.byteCount : 0))
    try bench.say(
      "optimizer", name, weight, shape, timing,
      bytes: Double(gradient.byteCount + states + weights))
  }

  private func norms() throws(Fault) {
    let x = try Tensor.noise([Self.count], .float32, on: engine)
    let largest = bench.measure { _ = engine.absMax(x) }
    try bench.say("optimizer", "largest", .float32, shape, largest, bytes: Double(x.byteCount))
    let squares = bench.measure {
      engine.kernel { _ = ck_sum_squares($0, x.count, CK_F32, x.address, 0) }
    }
    try bench.say(
      "optimizer", "sum_of_squares", .float32, shape, squares, bytes: Double(x.byteCount))
  }

  private var shape: JSONObject { JSONObject([("elements", JSONValue(Self.count))]) }
}
