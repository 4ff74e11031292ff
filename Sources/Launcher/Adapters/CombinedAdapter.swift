import Checkpoint
import Model
import Support
import Tensor

// r rank   R sum of ranks   i inputs   o outputs

/// Several adapters of one model as one: what they add is added up.
///
/// Blocks of the same outputs become one block of the sum of their ranks: the As stand under each other,
/// the s·Bs beside each other, and the scale is 1.
struct CombinedAdapter: WeightSource {
  let plan: AdapterPlan
  private let map: NameMap
  private let parts: [PublishedAdapter]
  private let sites: [String: [CombinedBlock]]
  /// Our weights of which one part holds the whole.
  private let owners: [String: Int]

  /// A block of a combined site with what the parts have of it.
  private struct CombinedBlock {
    var block: AdapterPlan.Block
    /// Part, row of its A and rank of its block, scale.
    var members: [(part: Int, first: Int, rank: Int, scale: Double)]
  }

  /// - Throws: `CKPT-161` when two adapt overlapping runs of outputs or train the same weight whole.
  init(_ parts: [PublishedAdapter], _ map: NameMap) throws(Fault) {
    self.parts = parts
    self.map = map
    var sites: [String: [CombinedBlock]] = [:]
    var owners: [String: Int] = [:]
    var plan = AdapterPlan()
    for (number, part) in parts.enumerated() {
      for (weight, site) in part.plan.sites {
        try Self.add(site, of: number, to: &sites[weight, default: []], weight, part.folder.path)
        plan.sites[weight] = site
      }
      for weight in part.plan.savedWeights {
        guard owners[weight] == nil else {
          throw Fault(
            .badAdapter, "two adapters have trained \(weight) whole", at: .file(part.folder.path))
        }
        owners[weight] = number
      }
    }
    for (weight, blocks) in sites { plan.sites[weight]?.blocks = blocks.map(\.block) }
    plan.savedWeights = Set(owners.keys)
    self.sites = sites
    self.owners = owners
    self.plan = plan
  }

  private static func add(
    _ site: AdapterPlan.Site, of part: Int, to blocks: inout [CombinedBlock], _ weight: String,
    _ folder: String
  ) throws(Fault) {
    var first = 0
    for block in site.blocks {
      let member = (part: part, first: first, rank: block.rank, scale: block.scale)
      first += block.rank
      if let same = blocks.firstIndex(where: { $0.block.rows == block.rows }) {
        blocks[same].members.append(member)
        blocks[same].block.rank += block.rank
        continue
      }
      let overlaps = blocks.contains { other in
        other.block.rows.contains { a in block.rows.contains { a.overlaps($0) } }
      }
      guard !overlaps else {
        throw Fault(
          .badAdapter, "the adapters cut \(weight) into different projections", at: .file(folder),
          fix: "merge one of them into the base first (megatron-export --merge_lora true)")
      }
      var own = block
      own.scale = 1
      blocks.append(CombinedBlock(block: own, members: [member]))
    }
  }

  func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    if let owner = owners[name] { return try parts[owner].describe(name) }
    guard let (weight, isA) = half(name), let site = plan.sites[weight] else {
      throw Fault(.internalError, "no adapter has \(name)", at: .tensor(name))
    }
    let shapes = site.shapes(of: map[weight]?.shape ?? [])
    return (.float32, isA ? shapes.a : shapes.b)
  }

  /// The weight that a half belongs to.
  private func half(_ name: String) -> (weight: String, isA: Bool)? {
    for half in [".lora_A.default.weight", ".lora_B.default.weight", ".lora_embedding_A.default"]
      + [".lora_embedding_B.default"] where name.hasSuffix(half)
    {
      return (name.dropLast(half.count) + ".weight", half.contains("_A."))
    }
    return nil
  }

  func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    if let owner = owners[name] {
      return try parts[owner].read(name, rows: rows, columns: columns, into: target)
    }
    let shape = try describe(name).shape
    guard let (weight, isA) = half(name) else { return }
    let whole = isA ? try a(name, weight, shape) : try b(name, weight, shape)
    let width = shape.dropFirst().reduce(1, *)
    let out = target.bindMemory(to: Float.self)
    for (i, row) in rows.enumerated() {
      for (j, column) in columns.enumerated() {
        out[i * columns.count + j] = whole[row * width + column]
      }
    }
  }

  private func a(_ name: String, _ weight: String, _ shape: [Int]) throws(Fault) -> [Float] {
    let width = shape.dropFirst().reduce(1, *)
    var whole: [Float] = []
    for member in (sites[weight] ?? []).flatMap(\.members) {
      let own = try values(member.part, name)
      whole += own[member.first * width..<(member.first + member.rank) * width]
    }
    return whole
  }

  private func b(_ name: String, _ weight: String, _ shape: [Int]) throws(Fault) -> [Float] {
    let width = shape.dropFirst().reduce(1, *)
    var whole = [Float](repeating: 0, count: shape.reduce(1, *))
    for combined in sites[weight] ?? [] {
      var first = 0
      for member in combined.members {
        let own = try values(member.part, name)
        let narrow = own.count / shape[0]
        for row in combined.block.rows.joined() {
          for j in 0..<member.rank {
            whole[row * width + first + j] = Float(member.scale) * own[row * narrow + j]
          }
        }
        first += member.rank
      }
    }
    return whole
  }

  /// A half of one of the adapters, whole.
  private func values(_ part: Int, _ name: String) throws(Fault) -> [Float] {
    let shape = try parts[part].describe(name).shape
    var values = [Float](repeating: 0, count: shape.reduce(1, *))
    try values.withUnsafeMutableBufferPointer { (p) throws(Fault) in
      try parts[part].read(
        name, rows: 0..<shape[0], columns: 0..<shape.dropFirst().reduce(1, *),
        into: UnsafeMutableRawBufferPointer(p))
    }
    return values
  }
}
