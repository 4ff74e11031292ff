import CKernels
import Support
import Tensor

/// Operators bound by memory. Counted is each input read once and each output written once, at 2048
/// rows of 2048; cross-entropy at 256 rows of a vocabulary of 151936.
struct OperatorBench {
  let bench: BenchContext
  private var engine: Engine { bench.engine }
  private var type: DType { bench.type }
  init(_ bench: BenchContext) { self.bench = bench }

  func run() throws(Fault) {
    try norm(rows: 2048, columns: 2048)
    try swiGLU(rows: 2048, width: 3072)
    try rotary(tokens: 2048, FusedHeads(groups: 2, ratio: 8, d: 128))
    try residual(count: 2048 * 2048)
    try rows(2048, columns: 2048, copies: 8)
    try crossEntropy(rows: 256, vocabulary: 151_936)
  }

  private func say(_ name: String, _ members: [(String, Int)], _ tensors: [Int], _ body: () -> Void)
    throws(Fault)
  {
    let shape = JSONObject(members.map { (key: $0.0, value: JSONValue($0.1)) })
    let timing = bench.measure(body)
    try bench.say("ops", name, type, shape, timing, bytes: Double(tensors.reduce(0, +)))
  }

  private func norm(rows: Int, columns: Int) throws(Fault) {
    let x = try Tensor.noise([rows, columns], type, on: engine)
    let w = try Tensor.noise([columns], type, on: engine)
    let dy = try Tensor.noise(x.shape, type, on: engine)
    let y = try Tensor(x.shape, type, on: engine)
    let rstd = try Tensor.zeros([rows], .float32, on: engine)
    let parts = try Tensor.zeros([8, columns], .float32, on: engine)
    let shape = [("rows", rows), ("columns", columns)]
    let kind = type.kernelType
    let forward = {
      engine.kernel {
        ck_rmsnorm_forward(
          $0, kind, rows, columns, x.address, w.address, 1e-6, y.address,
          rstd.pointer(as: Float.self))
      }
    }
    try say("rmsnorm_forward", shape, [2 * x.byteCount], forward)
    try say("rmsnorm_forward_backward", shape, [5 * x.byteCount]) {
      forward()
      engine.kernel {
        ck_rmsnorm_backward(
          $0, kind, rows, columns, x.address, w.address, rstd.pointer(as: Float.self),
          dy.address, y.address, parts.pointer(as: Float.self), rows / 8)
      }
    }
  }

  private func swiGLU(rows: Int, width: Int) throws(Fault) {
    let x = try Tensor.noise([rows, 2 * width], type, on: engine)
    let dx = try Tensor(x.shape, type, on: engine)
    let y = try Tensor.noise([rows, width], type, on: engine)
    let dy = try Tensor.noise(y.shape, type, on: engine)
    let shape = [("rows", rows), ("width", width)]
    let kind = type.kernelType
    let forward = {
      engine.kernel {
        ck_swiglu_forward($0, kind, rows, 1, width, x.address, nil, y.address)
      }
    }
    try say("swiglu_forward", shape, [x.byteCount, y.byteCount], forward)
    try say(
      "swiglu_forward_backward", shape, [3 * x.byteCount, 2 * y.byteCount]
    ) {
      forward()
      engine.kernel {
        ck_swiglu_backward($0, kind, rows, 1, width, x.address, nil, dy.address, dx.address, nil)
      }
    }
  }

  private func rotary(tokens: Int, _ heads: FusedHeads) throws(Fault) {
    let x = try Tensor.noise([tokens, heads.rowSize], type, on: engine)
    let y = try Tensor(x.shape, type, on: engine)
    let dy = try Tensor.noise(x.shape, type, on: engine)
    let w = try Tensor.noise([heads.d], type, on: engine)
    let angles = try Tensor.noise([tokens, heads.d / 2], .float32, on: engine)
    let rstd = try Tensor.zeros([tokens, heads.groups * (heads.ratio + 1)], .float32, on: engine)
    let dw = try Tensor.zeros([2, heads.groups, heads.d], .float32, on: engine)
    var s = ck_qkrope()
    (s.type, s.tokens, s.eps) = (type.kernelType, tokens, 1e-6)
    (s.groups, s.ratio, s.d) = (Int32(heads.groups), Int32(heads.ratio), Int32(heads.d))
    (s.wq, s.wk) = (UnsafeRawPointer(w.address), UnsafeRawPointer(w.address))
    s.cos = UnsafePointer(angles.pointer(as: Float.self))
    s.sin = s.cos
    let shape = [("tokens", tokens), ("heads", heads.groups * (heads.ratio + 2)), ("d", heads.d)]
    let forward = {
      engine.kernel {
        ck_qkrope_forward($0, &s, x.address, y.address, rstd.pointer(as: Float.self))
      }
    }
    try say("qk_norm_rope_forward", shape, [2 * x.byteCount], forward)
    try say("qk_norm_rope_forward_backward", shape, [5 * x.byteCount]) {
      forward()
      engine.kernel {
        let p = dw.pointer(as: Float.self)
        ck_qkrope_backward(
          $0, &s, x.address, rstd.pointer(as: Float.self), dy.address, y.address, p,
          p + heads.groups * heads.d, 1)
      }
    }
  }

  private func residual(count: Int) throws(Fault) {
    let a = try Tensor.noise([count], type, on: engine)
    let b = try Tensor.noise([count], .float32, on: engine)
    let out = try Tensor([count], type, on: engine)
    let shape = [("elements", count)]
    try say("residual_add", shape, [a.byteCount, b.byteCount, out.byteCount]) {
      engine.add(a, b, into: out)
    }
    try say("convert_from_float32", shape, [b.byteCount, out.byteCount]) {
      engine.convert(b, into: out)
    }
  }

  /// Rows to their experts and back.
  private func rows(_ count: Int, columns: Int, copies: Int) throws(Fault) {
    let x = try Tensor.noise([count, columns], type, on: engine)
    let sent = try Tensor.noise([count * copies, columns], type, on: engine)
    let gather = try Tensor(
      (0..<count * copies).map { Int32($0 % count) }, on: engine)
    let slots = try Tensor(
      (0..<count * copies).map { Int32($0 % copies * count + $0 / copies) }, on: engine)
    let shape = [("rows", count), ("columns", columns), ("copies", copies)]
    try say("gather_rows", shape, [x.byteCount, sent.byteCount]) {
      engine.gatherRows(x, gather.pointer(as: Int32.self), into: sent)
    }
    try say("combine_rows", shape, [x.byteCount, sent.byteCount]) {
      engine.combineRows(sent, k: copies, slots.pointer(as: Int32.self), into: x)
    }
  }

  /// Losses and gradients of fp32 logits: three readings and one writing are counted.
  private func crossEntropy(rows: Int, vocabulary: Int) throws(Fault) {
    let z = try Tensor.noise([rows, vocabulary], .float32, on: engine)
    let g = try Tensor(z.shape, type, on: engine)
    let small = try Tensor.zeros([4, rows, 8], .float32, on: engine)
    let labels = try Tensor((0..<rows).map { Int32($0) }, on: engine)
    let p = small.pointer(as: Float.self)
    let (maximum, sums, target, seed) = (p, p + rows, p + 9 * rows, p + 10 * rows)
    for i in 0..<rows { seed[i] = 1 }
    let logits = UnsafePointer(z.pointer(as: Float.self))
    let label = UnsafePointer(labels.pointer(as: Int32.self))
    let shape = [("rows", rows), ("vocabulary", vocabulary)]
    let forward = {
      engine.kernel {
        ck_ce_max($0, rows, vocabulary, logits, maximum)
        ck_ce_sums($0, rows, vocabulary, 8, logits, maximum, label, sums, target)
      }
    }
    try say("cross_entropy_forward", shape, [2 * z.byteCount], forward)
    try say("cross_entropy_forward_backward", shape, [3 * z.byteCount, g.byteCount]) {
      forward()
      engine.kernel {
        ck_ce_grad(
          $0, type.kernelType, rows, vocabulary, logits, maximum, sums, label, seed, g.address)
      }
    }
  }
}
