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
    /// Of a table of rows, the embedding: A has a column for each row, B makes their elements.
    public var isTable = false
    /// Largest rank of a block: columns of the stored B.
    public var rank: Int { blocks.map(\.rank).max() ?? 0 }
    /// Rows of the stored A.
    public var width: Int { blocks.reduce(0) { $0 + $1.rank } }
    public init(blocks: [Block], isTable: Bool = false) {
      self.blocks = blocks
      self.isTable = isTable
    }
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
  /// Biases among `savedWeights` are trained in their places, not as modules of their own.
  public var trainsBiases = false
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
    guard !module.hasSuffix("word_embeddings") else {
      a = module + ".lora_embedding_A.default"
      b = module + ".lora_embedding_B.default"
      return
    }
    a = module + ".lora_A.default.weight"
    b = module + ".lora_B.default.weight"
  }
}

extension QwenBuilder {
  /// The adapter of a weight, or nil.
  mutating func adapter(of weight: Parameter) throws(Fault) -> LowRankPair? {
    guard let pair = try adapters?.pair(for: weight, on: engine) else { return nil }
    add(pair.a)
    add(pair.b)
    return pair
  }
}

extension AdapterPlan {
  /// The halves of the adapter of a weight, uninitialised, or nil.
  ///
  /// Outputs split over ranks split B; inputs split over ranks split A; the other matrix is whole on
  /// every rank.
  /// - Throws: `MEM-001`.
  func pair(for weight: Parameter, on engine: Engine) throws(Fault) -> LowRankPair? {
    guard let site = sites[weight.name] else { return nil }
    let names = AdapterNames(weight: weight.name)
    let slices = weight.slices
    let shapes = site.shapes(of: slices.globalShape)
    // A weight is cut along the dim of its kind also where a group of one cuts nothing.
    let splitsInputs = slices.dim == 1 || site.isTable
    func role(isReplicated: Bool) -> Parameter.Role {
      var role = weight.role
      role.isReplicated = isReplicated
      role.isAdapter = true
      return role
    }
    let a = try Parameter(
      names.a,
      splitsInputs
        ? ParameterSlices(globalShape: shapes.a, dim: 1, runs: slices.runs) : .whole(shapes.a),
      dtype, role: role(isReplicated: !splitsInputs || weight.role.isReplicated), on: engine)
    let b = try Parameter(
      names.b,
      splitsInputs
        ? .whole(shapes.b) : ParameterSlices(globalShape: shapes.b, dim: 0, runs: slices.runs),
      dtype, role: role(isReplicated: splitsInputs || weight.role.isReplicated), on: engine)
    var first = 0
    let blocks = site.blocks.map { block in
      defer { first += block.rank }
      return LowRankPair.Block(
        rows: splitsInputs ? block.rows : slices.localRows(block.rows), first: first,
        rank: block.rank, scale: Float(block.scale))
    }
    return LowRankPair(a: a, b: b, blocks: blocks, dropout: Float(dropout))
  }
}

extension AdapterPlan.Site {
  /// Shapes of the halves of a weight `[o, i…]` as they are stored: A `[R, i…]`, B `[o, r]`, with
  /// dims of 1 after them for a convolution's; of a table `[v, h]` A `[R, v]`, B `[h, r]`.
  public func shapes(of weight: [Int]) -> (a: [Int], b: [Int]) {
    if isTable { return ([width, weight[0]], [weight[1], rank]) }
    return (
      [width] + weight.dropFirst(),
      [weight[0], rank] + [Int](repeating: 1, count: weight.count - 2)
    )
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
