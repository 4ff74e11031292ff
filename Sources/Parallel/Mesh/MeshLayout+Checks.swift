import Support

/// The sizes of a model that layouts must divide; nil where the model has no such part.
public struct ModelExtents: Sendable {
  public var heads: Int
  /// Key/value heads.
  public var kvGroups: Int
  /// Rows of the embedding, padding included.
  public var vocabulary: Int
  /// Width of the dense feed-forward layers.
  public var feedForward: Int?
  /// Width of one expert.
  public var expertFeedForward: Int?
  public var experts: Int?

  public init(
    heads: Int, kvGroups: Int, vocabulary: Int, feedForward: Int? = nil,
    expertFeedForward: Int? = nil, experts: Int? = nil
  ) {
    self.heads = heads
    self.kvGroups = kvGroups
    self.vocabulary = vocabulary
    self.feedForward = feedForward
    self.expertFeedForward = expertFeedForward
    self.experts = experts
  }
}

/// One reason why a layout does not work.
public struct MeshViolation: Sendable, Equatable {
  /// The flag to change, without dashes.
  public let flag: String
  public let message: String
}

extension MeshLayout {
  private static let flags: [(name: String, size: KeyPath<MeshShape, Int> & Sendable)] = [
    ("tensor_model_parallel_size", \.tp), ("context_parallel_size", \.cp),
    ("pipeline_model_parallel_size", \.pp), ("expert_model_parallel_size", \.ep),
    ("expert_tensor_parallel_size", \.etp),
  ]

  /// The product of the sizes, nil if it does not fit an Int or a size is not positive.
  private static func product(_ sizes: [Int]) -> Int? {
    sizes.reduce(Int?(1)) { product, size in
      guard let product, size > 0 else { return nil }
      let (value, overflow) = product.multipliedReportingOverflow(by: size)
      return overflow ? nil : value
    }
  }

  /// What makes the sizes no factorisation of the world.
  static func divisibility(world: Int, shape: MeshShape) -> [MeshViolation] {
    var found = flags.filter { shape[keyPath: $0.size] < 1 }.map {
      MeshViolation(flag: $0.name, message: "\($0.name) \(shape[keyPath: $0.size]) is below 1")
    }
    if world < 1 {
      found.append(MeshViolation(flag: "world", message: "a world of \(world) ranks"))
    }
    guard found.isEmpty else { return found }
    func mustDivide(_ sizes: [Int], _ names: String, _ flag: String) {
      let product = product(sizes)
      if let product, world % product == 0 { return }
      let value = sizes.map(String.init).joined(separator: "·")
      found.append(
        MeshViolation(
          flag: flag, message: "\(names) = \(value) does not divide the \(world) ranks"))
    }
    mustDivide([shape.tp, shape.cp, shape.pp], "TP·CP·PP", "tensor_model_parallel_size")
    mustDivide([shape.etp, shape.ep, shape.pp], "ETP·EP·PP", "expert_model_parallel_size")
    return found
  }

  /// Everything that keeps a layout from working with a model, all reasons at once.
  public static func violations(
    world: Int, shape: MeshShape, model: ModelExtents
  ) -> [MeshViolation] {
    var found = divisibility(world: world, shape: shape)
    for (flag, size) in [
      ("pipeline_model_parallel_size", shape.pp), ("context_parallel_size", shape.cp),
    ]
    where size > 1 {
      found.append(MeshViolation(flag: flag, message: "\(flag) above 1 is not supported yet"))
    }
    guard shape.tp > 0, shape.ep > 0, shape.etp > 0 else { return found }
    found += tensorViolations(shape, model)
    found += expertViolations(shape, model)
    return found
  }

  private static func tensorViolations(_ shape: MeshShape, _ model: ModelExtents) -> [MeshViolation]
  {
    let extents: [(Int?, String)] = [
      (model.heads, "attention heads"), (model.kvGroups, "key/value heads"),
      (model.vocabulary, "rows of the vocabulary"),
      (model.feedForward, "feed-forward columns"),
    ]
    return extents.compactMap { extent, what in
      guard let extent, extent % shape.tp != 0 else { return nil }
      return MeshViolation(
        flag: "tensor_model_parallel_size",
        message: "TP \(shape.tp) does not divide the \(extent) \(what)")
    }
  }

  private static func expertViolations(_ shape: MeshShape, _ model: ModelExtents) -> [MeshViolation]
  {
    var found: [MeshViolation] = []
    guard let experts = model.experts, experts > 0 else {
      if shape.ep > 1 {
        found.append(
          MeshViolation(
            flag: "expert_model_parallel_size", message: "EP \(shape.ep), but no experts"))
      }
      if shape.etp > 1 {
        found.append(
          MeshViolation(
            flag: "expert_tensor_parallel_size", message: "ETP \(shape.etp), but no experts"))
      }
      return found
    }
    if experts % shape.ep != 0 {
      found.append(
        MeshViolation(
          flag: "expert_model_parallel_size",
          message: "EP \(shape.ep) does not divide the \(experts) experts"))
    }
    if let width = model.expertFeedForward, width % shape.etp != 0 {
      found.append(
        MeshViolation(
          flag: "expert_tensor_parallel_size",
          message: "ETP \(shape.etp) does not divide the \(width) columns of an expert"))
    }
    if shape.tp > 1, !shape.sequenceParallel {
      found.append(
        MeshViolation(
          flag: "sequence_parallel",
          message: "experts with TP \(shape.tp) need sequence_parallel"))
    }
    return found
  }
}
