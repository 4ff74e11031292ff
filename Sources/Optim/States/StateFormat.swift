import Support
import Tensor

/// How a moment is stored; arithmetic is always fp32.
public enum StateType: String, Sendable, CaseIterable {
  case float32 = "fp32"
  case bfloat16 = "bf16"
  /// One fp32 scale per shard of a tensor: max|x| / (65504/2).
  case float16 = "fp16"
  /// E4M3, one fp32 scale per shard of a tensor: max|x| / 448.
  case float8 = "fp8"

  var size: Int {
    switch self {
    case .float32: return 4
    case .bfloat16, .float16: return 2
    case .float8: return 1
    }
  }

  /// Largest stored magnitude, for types with a scale.
  var top: Float? {
    switch self {
    case .float32, .bfloat16: return nil
    case .float16: return 65504 / 2
    case .float8: return 448
    }
  }
}

/// How the fp32 master weight is stored.
public enum MasterType: String, Sendable, CaseIterable {
  /// The model's weight is fp32 and its own master.
  case weight
  /// A copy in fp32.
  case float32 = "fp32"
  /// The lower 16 bits; the bf16 weight holds the upper ones. The pair is the fp32 word exactly.
  case remainder
  /// fp16 with one scale per shard of a tensor; lossy.
  case float16 = "fp16"

  var size: Int {
    switch self {
    case .weight: return 0
    case .float32: return 4
    case .remainder, .float16: return 2
    }
  }
}

/// A stored quantity of the optimizer, by its name in checkpoints.
public enum StateKind: String, Sendable, CaseIterable {
  case master = "param"
  case firstMoment = "exp_avg"
  case secondMoment = "exp_avg_sq"
  /// Momentum of SGD.
  case momentum = "momentum_buffer"
}

/// Storage of the states of one kind of parameters.
///
///     block of n elements:  | master n·a | first n·b | second n·c |   each aligned to 64 bytes
public struct StateFormat: Sendable, Equatable {
  public let master: MasterType
  /// exp_avg, or the momentum of SGD.
  public let first: StateType
  /// exp_avg_sq; nil for SGD.
  public let second: StateType?

  /// Optimizer bytes per parameter, without weight and gradient.
  public var bytesPerElement: Int { master.size + first.size + (second?.size ?? 0) }

  /// A scale over the whole shard must be known before the first element is stored, so the
  /// update walks over it twice.
  var isScaled: Bool { master == .float16 || first.top != nil || second?.top != nil }

  /// Byte offsets of the three parts of a block of `count` elements, and its size.
  func places(_ count: Int) -> (master: Int, first: Int, second: Int, end: Int) {
    let first = (master.size * count).rounded(upTo: 64)
    let second = (first + self.first.size * count).rounded(upTo: 64)
    let end = (second + (self.second?.size ?? 0) * count).rounded(upTo: 64)
    return (0, first, second, end)
  }
}

/// Scales of the three stored quantities of one segment.
struct StateScales: Equatable {
  var master: Float = 0
  var first: Float = 0
  var second: Float = 0
}
