import Support

/// A weight of the model as this rank holds it.
///
/// A class because the layer that uses it, the optimizer that updates it and the converter that
/// fills it are three rooms that must see the same memory.
public final class Parameter: @unchecked Sendable {
  /// Name of the whole tensor, Megatron spelling, one per layer and expert:
  /// `decoder.layers.3.self_attention.linear_qkv.weight`.
  public let name: String
  /// Shape of this rank's part, in memory order.
  public let shape: [Int]
  /// Where this rank's part lies in the whole tensor.
  public let slices: ParameterSlices
  public let role: Role

  /// The weight in the model's dtype, waited for where a collective still brings it.
  public var tensor: Tensor {
    get {
      arrival?.await()
      return memory
    }
    set { memory = newValue }
  }
  /// The weight's memory, arrived or not: for those who bring it.
  public private(set) var memory: Tensor
  /// What brings parts of the weight that other ranks have updated; nil when all of it is here.
  public var arrival: (any WeightArrival)?
  public var isTrainable = true
  /// Where the gradient is summed; set by the gradient buffer of the optimizer.
  public var gradient: Tensor?
  /// False until the first contribution of a step, which overwrites instead of adding.
  public var hasGradient = false

  /// Gradient sums by source, when rows of several data-parallel ranks meet in one expert and their
  /// sums must not mix (canonical batch chunks); empty otherwise.
  public var lanes: [Lane] = []

  /// The gradient that the rows of one source have given.
  public struct Lane: Sendable {
    public var gradient: Tensor
    public var hasGradient: Bool
    public init(gradient: Tensor, hasGradient: Bool) {
      self.gradient = gradient
      self.hasGradient = hasGradient
    }
  }

  /// The slot of one lane, as `gradientSlot`.
  public func gradientSlot(lane: Int) -> (tensor: Tensor, adds: Bool)? {
    guard isTrainable else { return nil }
    defer { lanes[lane].hasGradient = true }
    return (lanes[lane].gradient, lanes[lane].hasGradient)
  }

  /// How the optimizer and the gradient sums must treat the parameter.
  public struct Role: Sendable {
    /// Held by expert-parallel ranks: gradients are summed over the expert data-parallel group.
    public var isExpert = false
    /// Equal on all tensor-parallel ranks (of experts: on all expert-tensor-parallel ranks): counted
    /// once in the norm.
    public var isReplicated = false
    /// Half of an adapter: no part of the published model.
    public var isAdapter = false

    public init(isExpert: Bool = false, isReplicated: Bool = false) {
      self.isExpert = isExpert
      self.isReplicated = isReplicated
    }
  }

  public init(
    _ name: String, _ slices: ParameterSlices, _ dtype: DType, role: Role = Role(),
    on engine: Engine
  ) throws(Fault) {
    self.name = name
    self.slices = slices
    self.shape = slices.localShape
    self.role = role
    memory = try Tensor(slices.localShape, dtype, on: engine)
  }

  public var dtype: DType { memory.dtype }
  public var count: Int { shape.reduce(1, *) }
  /// One-dimensional tensors (norm weights) and biases are not decayed.
  public var decays: Bool { slices.globalShape.count > 1 && !name.hasSuffix(".bias") }

  /// The slot for this step's gradient and whether to add to it, or nil when frozen.
  /// - Throws: `INT-001` if a trainable parameter has no buffer.
  public func gradientSlot() throws(Fault) -> (tensor: Tensor, adds: Bool)? {
    guard isTrainable else { return nil }
    guard let gradient else {
      throw Fault(.internalError, "parameter \(name) has no gradient buffer", at: .tensor(name))
    }
    defer { hasGradient = true }
    return (gradient, hasGradient)
  }
}

/// Weights on their way from other ranks.
public protocol WeightArrival: AnyObject, Sendable {
  /// Returns when they are here. A failure is told by who started them, before anything that was
  /// computed from them is used.
  func await()
}

/// How the local memory of a parameter is composed of the whole tensor: runs along one dim.
public struct ParameterSlices: Sendable, Equatable {
  /// `count` rows (or columns) of the local tensor at `local` are those of the whole one at `global`.
  public struct Run: Sendable, Equatable {
    public let local: Int
    public let global: Int
    public let count: Int
    public init(local: Int, global: Int, count: Int) {
      self.local = local
      self.global = global
      self.count = count
    }
  }

  public let globalShape: [Int]
  public let localShape: [Int]
  /// The dim that `runs` cut; the others are whole.
  public let dim: Int
  public let runs: [Run]

  public init(globalShape: [Int], dim: Int, runs: [Run]) {
    self.globalShape = globalShape
    self.dim = dim
    self.runs = runs
    var local = globalShape
    local[dim] = runs.reduce(0) { $0 + $1.count }
    localShape = local
  }

  /// The whole tensor on every rank.
  public static func whole(_ shape: [Int]) -> ParameterSlices {
    ParameterSlices(
      globalShape: shape, dim: 0, runs: [Run(local: 0, global: 0, count: shape[0])])
  }

  /// The `rank`-th of `count` equal parts along `dim`.
  public static func even(_ shape: [Int], dim: Int, rank: Int, of count: Int) -> ParameterSlices {
    let size = shape[dim] / count
    return ParameterSlices(
      globalShape: shape, dim: dim, runs: [Run(local: 0, global: rank * size, count: size)])
  }

  /// A gated pair `[gate; up]` of `2·width` rows, cut in `chunks` parts that each hold their gate
  /// rows and then their up rows; this rank has the `rank`-th of `count` runs of parts.
  public static func gated(
    width: Int, columns: Int, chunks: Int, rank: Int, of count: Int
  ) -> ParameterSlices {
    let own = max(1, chunks / count)
    let part = width / count / own
    var runs: [Run] = []
    for i in 0..<own {
      let start = rank * (width / count) + i * part
      runs.append(Run(local: 2 * i * part, global: start, count: part))
      runs.append(Run(local: (2 * i + 1) * part, global: width + start, count: part))
    }
    return ParameterSlices(globalShape: [2 * width, columns], dim: 0, runs: runs)
  }

  /// Rows that stand kind by kind in the whole tensor (all queries, all keys, all values), each kind
  /// head by head; here head by head, each with a run of `size` rows of every kind.
  public static func byHead(_ shape: [Int], kinds: Int, heads: Int, size: Int) -> ParameterSlices {
    precondition(shape[0] == kinds * heads * size)
    var runs: [Run] = []
    for head in 0..<heads {
      for kind in 0..<kinds {
        runs.append(
          Run(
            local: (head * kinds + kind) * size, global: (kind * heads + head) * size, count: size))
      }
    }
    return ParameterSlices(globalShape: shape, dim: 0, runs: runs)
  }
}
