import Parallel
import Support
import Tensor

// i inputs   o outputs   r rank   R sum of the ranks of a site's blocks

/// Which weights of a model have adapters, and of what kind. Made from flags or from an adapter's
/// folder before the model is built.
public struct AdapterPlan: Sendable, Equatable {
  /// The adapter of one weight.
  public struct Site: Sendable, Equatable {
    public var blocks: [Block]
    /// Largest rank of a block: columns of the stored B.
    public var rank: Int { blocks.map(\.rank).max() ?? 0 }
    /// Rows of the stored A.
    public var width: Int { blocks.reduce(0) { $0 + $1.rank } }
    public init(blocks: [Block]) { self.blocks = blocks }
  }

  /// Outputs of a weight that share an A.
  public struct Block: Sendable, Equatable {
    /// The published weight that these outputs are, for adapters on published projections; nil for
    /// one A over the whole of our weight.
    public var published: String?
    /// Rows of our whole weight.
    public var rows: [Range<Int>]
    public var rank: Int
    public var scale: Double
    public init(published: String?, rows: [Range<Int>], rank: Int, scale: Double) {
      self.published = published
      self.rows = rows
      self.rank = rank
      self.scale = scale
    }
  }

  /// By the name of our weight.
  public var sites: [String: Site] = [:]
  /// Weights that are trained whole beside the adapters.
  public var savedWeights: Set<String> = []
  public var dropout = 0.0
  /// Scales were made with the root of the rank.
  public var stabilized = false
  /// Type the adapters are held and computed in.
  public var dtype = DType.float32

  public init() {}

  /// s of `s · B · A`.
  /// - Source: Hu et al. 2021; with `stabilized` Kalajdzievski 2023.
  public static func scale(alpha: Double, rank: Int, stabilized: Bool) -> Double {
    alpha / (stabilized ? Double(rank).squareRoot() : Double(rank))
  }
}

/// Names of the two matrices of an adapter, Megatron's spelling.
public struct AdapterNames: Sendable {
  public let a: String
  public let b: String
  /// - Parameter weight: name of the adapted weight.
  public init(weight: String) {
    let module = weight.hasSuffix(".weight") ? String(weight.dropLast(7)) : weight
    a = module + ".lora_A.default.weight"
    b = module + ".lora_B.default.weight"
  }
}

extension QwenBuilder {
  /// The adapter of a weight, or nil.
  ///
  /// Outputs split over ranks split B; inputs split over ranks split A; the other matrix is whole on
  /// every rank.
  mutating func adapter(of weight: Parameter) throws(Fault) -> LowRankPair? {
    guard let plan = adapters, let site = plan.sites[weight.name] else { return nil }
    let names = AdapterNames(weight: weight.name)
    let slices = weight.slices
    let whole = slices.globalShape
    // A weight is cut along the dim of its kind also where a group of one cuts nothing.
    let splitsInputs = slices.dim == 1
    func role(isReplicated: Bool) -> Parameter.Role {
      var role = weight.role
      role.isReplicated = isReplicated
      role.isAdapter = true
      return role
    }
    let a = try parameter(
      names.a,
      splitsInputs
        ? ParameterSlices(globalShape: [site.width, whole[1]], dim: 1, runs: slices.runs)
        : .whole([site.width, whole[1]]),
      role: role(isReplicated: !splitsInputs), dtype: plan.dtype)
    let b = try parameter(
      names.b,
      splitsInputs
        ? .whole([whole[0], site.rank])
        : ParameterSlices(globalShape: [whole[0], site.rank], dim: 0, runs: slices.runs),
      role: role(isReplicated: splitsInputs || weight.role.isReplicated), dtype: plan.dtype)
    var first = 0
    let blocks = site.blocks.map { block in
      defer { first += block.rank }
      return LowRankPair.Block(
        rows: splitsInputs ? block.rows : slices.localRows(block.rows), first: first,
        rank: block.rank, scale: Float(block.scale))
    }
    return LowRankPair(a: a, b: b, blocks: blocks, dropout: Float(plan.dropout))
  }
}

extension ParameterSlices {
  /// Rows of this rank's part that are in `rows` of the whole, in their order here.
  func localRows(_ rows: [Range<Int>]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for run in runs {
      for wanted in rows {
        let common = wanted.clamped(to: run.global..<run.global + run.count)
        guard !common.isEmpty else { continue }
        let start = run.local + common.lowerBound - run.global
        result.append(start..<start + common.count)
      }
    }
    return result
  }
}
