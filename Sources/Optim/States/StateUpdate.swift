import CKernels
import Support
import Tensor

/// The rule that turns a gradient into a new weight.
public enum UpdateRule: Sendable, Equatable {
  /// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g²,
  /// p ← p·(1 − lr·λ) − lr·(m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε)   (Loshchilov & Hutter 2019)
  case adamW(beta1: Double = 0.9, beta2: Double = 0.95, epsilon: Double = 1e-8)
  /// b ← μb + g + λp (b = g + λp in the first step), p ← p − lr·b
  case sgd(momentum: Double = 0.9)
}

/// The numbers of one step for one group of parameters.
struct StepFactors {
  let rule: UpdateRule
  /// Multiplies the gradient first: loss scale, divisor and clipping.
  let gradientScale: Float
  let learningRate: Float
  let weightDecay: Float
  /// t, from 1.
  let step: Int
}

/// A block of one parameter as the update sees it.
struct UpdateBlock {
  let count: Int
  let weight: UnsafeMutableRawPointer
  let weightType: DType
  let gradient: UnsafeRawPointer
  let gradientType: DType
  let states: StatePointers
}

/// Largest magnitudes of the scaled states of a segment; NaN stays.
struct StateMagnitudes {
  var master: Float = 0
  var first: Float = 0
  var second: Float = 0

  mutating func include(_ other: StateMagnitudes) {
    master = StateMagnitudes.larger(master, other.master)
    first = StateMagnitudes.larger(first, other.first)
    second = StateMagnitudes.larger(second, other.second)
  }

  static func larger(_ a: Float, _ b: Float) -> Float { a.isNaN || b.isNaN ? .nan : max(a, b) }

  func scales(_ format: StateFormat) -> StateScales {
    func scale(_ largest: Float, _ top: Float?) -> Float {
      top.map { ScaledCodec.scale(largest: largest, top: $0) } ?? 0
    }
    return StateScales(
      master: format.master == .float16 ? scale(master, StateType.float16.top) : 0,
      first: scale(first, format.first.top), second: scale(second, format.second?.top))
  }
}

/// Applies `UpdateRule` to blocks of stored states.
///
/// Unscaled states are updated in place by one kernel. Scaled ones are widened into scratch, block
/// by block, twice: first to find the largest new magnitude of the whole shard, then to store. So
/// no fp32 copy of a shard is ever made, and the result is as if it had been.
final class StateUpdate {
  let engine: Engine
  let format: StateFormat
  let codec: ScaledCodec
  /// fp32 master, first and second moment of a block.
  private let scratch: [Tensor]

  /// - Throws: `MEM-001`.
  init(format: StateFormat, engine: Engine) throws(Fault) {
    self.engine = engine
    self.format = format
    codec = ScaledCodec(engine: engine)
    var scratch: [Tensor] = []
    // One is also the buffer of state transfers.
    for _ in 0..<(format.isScaled ? 3 : 1) {
      scratch.append(try Tensor([StateStore.blockElements], .float32, on: engine))
    }
    self.scratch = scratch
  }

  func scratch(_ index: Int) -> UnsafeMutablePointer<Float> {
    scratch[index].pointer(as: Float.self)
  }

  var nearBytes: Int { scratch.reduce(0) { $0 + $1.byteCount } }

  /// Updates a block of unscaled states.
  func apply(_ block: UpdateBlock, _ factors: StepFactors) {
    guard case .adamW = factors.rule else { return applySGD(block, factors) }
    var args = arguments(block, factors)
    setMaster(&args, block)
    args.m = block.states.first
    args.m_type = format.first == .bfloat16 ? CK_BF16 : CK_F32
    args.v = block.states.second
    args.v_type = format.second == .bfloat16 ? CK_BF16 : CK_F32
    engine.kernel { ck_adamw($0, &args) }
  }

  /// The largest magnitudes a block of scaled states will have; stores nothing.
  func measure(
    _ block: UpdateBlock, _ factors: StepFactors, scales: StateScales
  ) -> StateMagnitudes {
    let n = block.count
    var args = arguments(block, factors)
    args.master_kind = CK_MASTER_F32
    args.master = scratch(0)
    if format.master == .float16 {
      codec.load(block.states.master, n, as: .float16, scale: scales.master, into: scratch(0))
    } else {
      // Moments do not depend on the weight; only its place is needed.
      engine.kernel { ck_fill($0, n, 0, scratch(0)) }
    }
    loadFirst(&args, block, scales)
    loadSecond(&args, block, scales)
    engine.kernel { ck_adamw($0, &args) }
    var result = StateMagnitudes()
    if format.master == .float16 { result.master = codec.largest(scratch(0), n) }
    if format.first.top != nil { result.first = codec.largest(scratch(1), n) }
    if format.second?.top != nil { result.second = codec.largest(scratch(2), n) }
    return result
  }

  /// Updates a block of which some states are scaled: read with `scales`, stored with `newScales`.
  func applyScaled(
    _ block: UpdateBlock, _ factors: StepFactors, scales: StateScales, newScales: StateScales
  ) {
    let n = block.count
    var args = arguments(block, factors)
    setMaster(&args, block)
    if format.master == .float16 {
      codec.load(block.states.master, n, as: .float16, scale: scales.master, into: scratch(0))
    }
    loadFirst(&args, block, scales)
    loadSecond(&args, block, scales)
    engine.kernel { ck_adamw($0, &args) }
    if format.master == .float16 {
      codec.store(scratch(0), n, as: .float16, scale: newScales.master, into: block.states.master)
    }
    codec.store(
      scratch(1), n, as: format.first, scale: newScales.first, into: block.states.first)
    if let second = format.second {
      codec.store(scratch(2), n, as: second, scale: newScales.second, into: block.states.second)
    }
  }

  private func loadFirst(_ args: inout ck_adamw_args, _ block: UpdateBlock, _ scales: StateScales) {
    codec.load(
      block.states.first, block.count, as: format.first, scale: scales.first, into: scratch(1))
    args.m = UnsafeMutableRawPointer(scratch(1))
    args.m_type = CK_F32
  }

  private func loadSecond(_ args: inout ck_adamw_args, _ block: UpdateBlock, _ scales: StateScales)
  {
    codec.load(
      block.states.second, block.count, as: format.second ?? .float32, scale: scales.second,
      into: scratch(2))
    args.v = UnsafeMutableRawPointer(scratch(2))
    args.v_type = CK_F32
  }

  private func setMaster(_ args: inout ck_adamw_args, _ block: UpdateBlock) {
    args.master_kind = format.master == .remainder ? CK_MASTER_REMAINDER : CK_MASTER_F32
    args.param_type = block.weightType.kernelType
    switch format.master {
    case .weight:
      args.master = block.weight.assumingMemoryBound(to: Float.self)
    case .float32:
      args.master = block.states.master.assumingMemoryBound(to: Float.self)
      args.param = block.weight
    case .remainder:
      args.remainder = block.states.master.assumingMemoryBound(to: Int16.self)
      args.param = block.weight
    case .float16:
      args.master = scratch(0)
      args.param = block.weight
    }
  }

  private func arguments(_ block: UpdateBlock, _ factors: StepFactors) -> ck_adamw_args {
    guard case .adamW(let beta1, let beta2, let epsilon) = factors.rule else {
      preconditionFailure("only AdamW has two moments")
    }
    var args = ck_adamw_args()
    args.n = block.count
    args.grad = block.gradient
    args.grad_type = block.gradientType.kernelType
    args.grad_scale = .init(factors.gradientScale)
    args.lr = .init(factors.learningRate)
    args.beta1 = beta1
    args.beta2 = beta2
    args.eps = .init(epsilon)
    args.weight_decay = .init(factors.weightDecay)
    args.bias1 = Float(1 - power(beta1, factors.step))
    args.bias2 = Float(1 - power(beta2, factors.step))
    return args
  }

  private func applySGD(_ block: UpdateBlock, _ factors: StepFactors) {
    guard case .sgd(let momentum) = factors.rule else { return }
    let isOwnMaster = format.master == .weight
    let master = isOwnMaster ? block.weight : block.states.master
    let buffer = block.states.first.assumingMemoryBound(to: Float.self)
    engine.kernel { engine in
      ck_sgd(
        engine, block.count, master.assumingMemoryBound(to: Float.self), block.gradient,
        block.gradientType.kernelType, buffer, factors.step == 1 ? 1 : 0, factors.gradientScale,
        factors.learningRate, Float(momentum), factors.weightDecay)
      if !isOwnMaster {
        ck_convert(
          engine, block.count, CK_F32, master, block.weightType.kernelType, block.weight)
      }
    }
  }
}

/// xⁿ by squaring, so that no library's rounding enters.
func power(_ x: Double, _ n: Int) -> Double {
  var (result, base, rest) = (1.0, x, n)
  while rest > 0 {
    if rest & 1 == 1 { result *= base }
    base *= base
    rest >>= 1
  }
  return result
}
