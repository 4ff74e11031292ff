import Support

/// The sizes a user asks for; data parallel sizes follow from the number of ranks.
public struct MeshShape: Sendable, Hashable {
  public var tp: Int
  public var cp: Int
  public var pp: Int
  public var ep: Int
  public var etp: Int
  public var sequenceParallel: Bool

  public init(
    tp: Int = 1, cp: Int = 1, pp: Int = 1, ep: Int = 1, etp: Int = 1,
    sequenceParallel: Bool = false
  ) {
    self.tp = tp
    self.cp = cp
    self.pp = pp
    self.ep = ep
    self.etp = etp
    self.sequenceParallel = sequenceParallel
  }
}

/// Place of a rank along every axis, each counted from 0.
public struct MeshCoordinates: Sendable, Hashable {
  public let tp, cp, dp, pp, etp, ep, edp: Int

  public subscript(_ axis: MeshAxis) -> Int {
    switch axis {
    case .tp: tp
    case .cp: cp
    case .dp: dp
    case .pp: pp
    case .etp: etp
    case .ep: ep
    case .edp: edp
    }
  }
}

/// How the ranks of a world are divided, twice: once for dense layers, once for experts.
///
///     dense   rank = tp  + TP·(cp + CP·(dp + DP·pp))        DP  = world / (TP·CP·PP)
///     expert  rank = etp + ETP·(ep + EP·(edp + EDP·pp))     EDP = world / (ETP·EP·PP)
///
/// Pure arithmetic without communication. Source: Megatron core 0.13, order tp-cp-ep-dp-pp.
public struct MeshLayout: Sendable, Hashable {
  public let world: Int
  public let shape: MeshShape
  public let dp: Int
  public let edp: Int

  /// - Throws: LAYOUT-001 if a size is below 1 or the sizes do not divide the world.
  public init(world: Int, shape: MeshShape) throws(Fault) {
    let violations = Self.divisibility(world: world, shape: shape)
    if let first = violations.first {
      throw Fault(
        .layoutRefused, violations.map(\.message).joined(separator: "; "),
        at: .flag(first.flag))
    }
    self.world = world
    self.shape = shape
    dp = world / (shape.tp * shape.cp * shape.pp)
    edp = world / (shape.etp * shape.ep * shape.pp)
  }

  /// Number of ranks along an axis.
  public func size(_ axis: MeshAxis) -> Int {
    switch axis {
    case .tp: shape.tp
    case .cp: shape.cp
    case .dp: dp
    case .pp: shape.pp
    case .etp: shape.etp
    case .ep: shape.ep
    case .edp: edp
    }
  }

  /// - Parameter rank: in `0..<world`.
  public func coordinates(of rank: Int) -> MeshCoordinates {
    let dense = digits(of: rank, MeshAxis.dense)
    let expert = digits(of: rank, MeshAxis.expert)
    return MeshCoordinates(
      tp: dense[0], cp: dense[1], dp: dense[2], pp: dense[3], etp: expert[0], ep: expert[1],
      edp: expert[2])
  }

  private func digits(of rank: Int, _ axes: [MeshAxis]) -> [Int] {
    var rest = rank
    return axes.map { axis in
      defer { rest /= size(axis) }
      return rest % size(axis)
    }
  }

  /// The groups of a kind as lists of ranks, each ascending, ordered by their first rank.
  ///
  /// Embedding groups leave out the middle stages of a pipeline, all others hold every rank once.
  public func groups(_ kind: MeshGroup) -> [[Int]] {
    let fixed = kind.factorisation.filter { !kind.axes.contains($0) }
    var lists: [[Int]: [Int]] = [:]
    for rank in 0..<world {
      let place = coordinates(of: rank)
      if kind == .embedding, place.pp != 0, place.pp != shape.pp - 1 { continue }
      lists[fixed.map { place[$0] }, default: []].append(rank)
    }
    return lists.values.sorted { $0[0] < $1[0] }
  }

  /// The groups of a kind with every rank once: who has no group is alone.
  public func partition(_ kind: MeshGroup) -> [[Int]] {
    let groups = groups(kind)
    let known = Set(groups.joined())
    let alone = (0..<world).filter { !known.contains($0) }.map { [$0] }
    return (groups + alone).sorted { $0[0] < $1[0] }
  }
}

extension MeshLayout: CustomStringConvertible {
  /// One line for the log, both factorisations.
  public var description: String {
    func product(_ axes: [MeshAxis]) -> String {
      axes.map { "\($0.rawValue) \(size($0))" }.joined(separator: " × ")
    }
    return "\(world) \(world == 1 ? "rank" : "ranks"): dense \(product(MeshAxis.dense)), "
      + "expert \(product(MeshAxis.expert))"
      + (shape.sequenceParallel && shape.tp > 1 ? ", sequence parallel" : "")
  }
}
