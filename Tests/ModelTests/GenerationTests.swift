import Model
import Parallel
import Support
import Tensor
import Testing

/// Kept keys and values against whole rows.
@Suite("Generation", .serialized)
struct GenerationTests {
  /// A model on one rank of a world; ready for whole rows.
  private func model(
    _ rig: LayoutRig, _ world: any Communicator, ep: Int, tp: Int, _ level: KernelLevel? = nil
  ) throws(Fault) -> (QwenText, GenerationSetting) {
    let mesh = try ProcessMesh(
      world: world, shape: MeshShape(tp: tp, ep: ep, etp: 1, sequenceParallel: false))
    let engine = try Engine(threads: rig.threads, level: level)
    var layout = ModelLayout()
    layout.tp = (mesh.tp.rank, mesh.tp.size)
    layout.ep = (mesh.ep.rank, mesh.ep.size)
    layout.etp = (mesh.etp.rank, mesh.etp.size)
    let config: QwenConfig
    do { config = try rig.config() } catch { throw Fault(.internalError, "\(error)") }
    let router = config.experts.map { RouterOptions(experts: $0.count, topK: $0.topK) }
    let model = try QwenText(config, layout: layout, dtype: rig.dtype, router: router, on: engine)
    try model.initialize(seed: 3)
    return (
      model,
      GenerationSetting(
        engine: engine, groups: ModelGroups(tp: mesh.tp, ep: mesh.ep, etp: mesh.etp),
        rowSharers: ep > tp ? mesh.dpCP : nil)
    )
  }

  private func tokens(_ count: Int, seed: Int) -> [Int32] {
    let random = CounterRandom(seed: UInt64(seed), purpose: "tokens")
    return (0..<count).map { Int32(random.uniform($0) * 64) }
  }

  /// Logits of every token of every text, the texts cut into passes of `piece` tokens side by side.
  private func cached(
    _ model: QwenText, _ setting: GenerationSetting, _ texts: [[Int32]], piece: Int
  ) throws(Fault) -> [[Float]] {
    let caches = texts.map { _ in model.newCache() }
    var results = texts.map { _ in [Float]() }
    while zip(texts, caches).contains(where: { $0.count > $1.count }) {
      var ids: [Int32] = []
      var positions: [Int32] = []
      var sequences: [CachedRows.Sequence] = []
      var owners: [Int] = []
      for (i, text) in texts.enumerated() where caches[i].count < text.count {
        let start = caches[i].count
        let end = min(text.count, start + piece + i)
        ids += text[start..<end]
        positions += (start..<end).map { Int32($0) }
        sequences.append(.init(cache: caches[i], rows: end - start))
        owners += [Int](repeating: i, count: end - start)
      }
      let logits = try model.nextLogits(
        GenerationInput(
          ids: ids, positions: positions, sequences: CachedRows(sequences),
          wanted: ids.indices.map(Int32.init)), setting)
      for (row, owner) in owners.enumerated() {
        results[owner] += logits.values[row * logits.rowSize..<(row + 1) * logits.rowSize]
      }
    }
    return results
  }

  private func whole(_ model: QwenText, _ setting: GenerationSetting, _ text: [Int32])
    throws(Fault) -> [Float]
  {
    let row = Setting(
      engine: setting.engine, groups: setting.groups, sequenceParallel: false,
      layout: try SequenceLayout(
        starts: [0, Int32(text.count)], realTokens: text.count, on: setting.engine),
      isTraining: false)
    return try model.logits(
      TextInput(
        ids: try Tensor(text, on: setting.engine), positions: text.indices.map(Int32.init),
        labels: .init(shifted: [], weights: nil)),
      in: Context(tape: Tape(recording: false), setting: row)
    ).values
  }

  @Test(
    "Any cut of a prompt, alone or beside others, gives the bits of the whole row",
    arguments: [0, 4], [DType.float32, .bfloat16])
  func sameBits(experts: Int, dtype: DType) throws {
    let rig = LayoutRig(experts: experts, tied: experts == 0, dtype: dtype, threads: 2)
    let texts = [tokens(141, seed: 1), tokens(9, seed: 2), tokens(50, seed: 3)]
    for level in KernelLevel.allCases where level.isAvailable && level != .portable {
      let (model, setting) = try model(rig, SelfWorld(), ep: 1, tp: 1, level)
      let expected = try texts.map { try whole(model, setting, $0) }
      try model.prepareForGeneration()
      for piece in [1, 40, 500] {
        #expect(try cached(model, setting, texts, piece: piece) == expected, "\(level) \(piece)")
      }
    }
  }

  @Test("Models over tensor- and expert-parallel ranks give the bits of one rank")
  func layouts() throws {
    for (experts, tp, ep) in [(0, 2, 1), (4, 2, 1), (4, 2, 2), (4, 1, 2), (4, 2, 4)] {
      let rig = LayoutRig(experts: experts)
      let texts = [tokens(21, seed: 1), tokens(6, seed: 2)]
      let run: @Sendable (any Communicator) throws(Fault) -> [[Float]] = {
        [self] (world) throws(Fault) in
        let (ep, tp) = world.size == 1 ? (1, 1) : (ep, tp)
        let (model, setting) = try model(rig, world, ep: ep, tp: tp)
        try model.prepareForGeneration()
        return try cached(model, setting, texts, piece: 4)
      }
      let one = try ThreadWorld.run(ranks: 1, run)
      for rank in try ThreadWorld.run(ranks: max(tp, ep), run) {
        #expect(rank == one[0], "experts \(experts) tp \(tp) ep \(ep)")
      }
    }
  }

  @Test("A sequence that continues a kept beginning leaves the other one alone")
  func fork() throws {
    let rig = LayoutRig()
    let (model, setting) = try model(rig, SelfWorld(), ep: 1, tp: 1)
    try model.prepareForGeneration()
    let beginning = tokens(133, seed: 5)
    let (a, b) = (beginning + tokens(4, seed: 6), Array(beginning[..<130]) + tokens(7, seed: 7))
    let expected = try [a, b].map { try cached(model, setting, [$0], piece: 500)[0].suffix(64) }
    let first = model.newCache()
    func feed(_ text: ArraySlice<Int32>, _ cache: KeyValueCache) throws -> [Float] {
      let positions = (cache.count..<cache.count + text.count).map { Int32($0) }
      return try model.nextLogits(
        GenerationInput(
          ids: Array(text), positions: positions,
          sequences: CachedRows([.init(cache: cache, rows: text.count)]),
          wanted: [Int32(text.count - 1)]), setting
      ).values
    }
    _ = try feed(beginning[...], first)
    let second = first.fork(prefix: 130)
    #expect(try feed(b[130...], second) == Array(expected[1]))
    #expect(try feed(a[133...], first) == Array(expected[0]))
  }
}
