import Support

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension MeshLayout {
  /// Layouts of the same world that do work with the model, closest to the wish first.
  ///
  /// Distance is the sum of |log2| of the factors by which sizes change; a tie goes to the layout
  /// that splits the dense weights more, because too little memory is the usual reason to split.
  public static func nearestLayouts(
    world: Int, shape: MeshShape, model: ModelExtents, limit: Int = 3
  ) -> [MeshShape] {
    guard world > 0 else { return [] }
    let divisors = (1...world).filter { world % $0 == 0 }
    let hasExperts = (model.experts ?? 0) > 0
    var found: [(distance: Double, shape: MeshShape)] = []
    for tp in divisors where fitsTensor(tp, model) {
      for ep in hasExperts ? divisors : [1] {
        for etp in hasExperts ? divisors : [1] {
          var candidate = shape
          (candidate.tp, candidate.ep, candidate.etp) = (tp, ep, etp)
          (candidate.cp, candidate.pp) = (1, 1)
          if hasExperts, tp > 1 { candidate.sequenceParallel = true }
          guard violations(world: world, shape: candidate, model: model).isEmpty else { continue }
          found.append((distance(shape, candidate), candidate))
        }
      }
    }
    return found.sorted { a, b in
      if a.distance != b.distance { return a.distance < b.distance }
      return (a.shape.tp, a.shape.ep, a.shape.etp) > (b.shape.tp, b.shape.ep, b.shape.etp)
    }.prefix(max(limit, 0)).map(\.shape)
  }

  private static func fitsTensor(_ tp: Int, _ model: ModelExtents) -> Bool {
    model.heads % tp == 0 && model.kvGroups % tp == 0
  }

  private static func distance(_ wish: MeshShape, _ candidate: MeshShape) -> Double {
    let pairs = [
      (wish.tp, candidate.tp), (wish.cp, candidate.cp), (wish.pp, candidate.pp),
      (wish.ep, candidate.ep), (wish.etp, candidate.etp),
    ]
    let factors = pairs.map { abs(log2(Double(max($0, 1)) / Double($1))) }
    let switched = wish.sequenceParallel != candidate.sequenceParallel ? 0.25 : 0
    return factors.reduce(switched, +)
  }

  /// The one message for a layout that does not work, nil if it does.
  ///
  /// - Returns: LAYOUT-001 with every reason and the closest layouts as flags.
  public static func refusal(world: Int, shape: MeshShape, model: ModelExtents) -> Fault? {
    let found = violations(world: world, shape: shape, model: model)
    guard let first = found.first else { return nil }
    let nearest = nearestLayouts(world: world, shape: shape, model: model)
    return Fault(
      .layoutRefused, "the layout does not fit the model and \(world) ranks",
      at: .flag(first.flag), found: found.map(\.message).joined(separator: "; "),
      fix: nearest.isEmpty
        ? "no layout works with this number of ranks"
        : "use one of: " + nearest.map { $0.flags }.joined(separator: " | "))
  }
}

extension MeshShape {
  /// The flags that give this shape; sizes of 1 are left out, except when all are 1.
  public var flags: String {
    let sizes = [
      ("tensor_model_parallel_size", tp), ("context_parallel_size", cp),
      ("pipeline_model_parallel_size", pp), ("expert_model_parallel_size", ep),
      ("expert_tensor_parallel_size", etp),
    ]
    var words = sizes.filter { $0.1 != 1 }.map { "--\($0.0) \($0.1)" }
    if sequenceParallel, tp > 1 { words.append("--sequence_parallel true") }
    return words.isEmpty ? "--tensor_model_parallel_size 1" : words.joined(separator: " ")
  }
}
