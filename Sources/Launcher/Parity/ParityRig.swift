import Checkpoint
import DataPipeline
import Model
import Parallel
import Support
import Tensor

/// A model in some layout with what it takes to run stored rows through it and to see whole tensors.
struct ParityRig {
  let config: QwenConfig
  let map: NameMap
  let model: QwenModel
  let groups: RankGroups
  let engine: Engine
  let sequenceParallel: Bool
  /// The adapter the model was built with.
  let adapter: PublishedAdapter?

  /// - Parameters:
  ///   - adapter: an adapter to begin from, `plan` what is built of it.
  ///   - weights: the weights, where they are not those of the folder.
  init(
    folder: String, dtype: DType, groups: RankGroups, engine: Engine, sequenceParallel: Bool,
    adapter: PublishedAdapter? = nil, plan: AdapterPlan? = nil,
    weights: (any WeightSource)? = nil, adjust: (inout RouterOptions) -> Void = { _ in }
  ) throws(Fault) {
    config = try QwenConfig(folder: folder)
    map = NameMap(config)
    var router = RouterOptions(config)
    if router != nil { adjust(&router!) }
    model = try QwenModel(
      config, layout: groups.layout, dtype: dtype, router: router, adapters: plan, on: engine)
    if let weights {
      try model.load(from: weights)
    } else {
      try model.load(from: PublishedWeightSource(try PublishedFolder(folder), config))
    }
    if let adapter { try model.loadAdapters(from: adapter) }
    self.adapter = adapter
    self.groups = groups
    self.engine = engine
    self.sequenceParallel = sequenceParallel && groups.tp.size > 1
  }

  func setting(
    _ row: ModelRow, seeds: LossSeeds, probe: Probe? = nil, training: Bool = true,
    replay: RoutingReplay? = nil
  ) -> Setting {
    var setting = Setting(
      engine: engine, groups: groups.model, sequenceParallel: sequenceParallel, layout: row.layout,
      isTraining: training, seeds: seeds, probe: probe)
    setting.replay = replay
    return setting
  }

  /// A stored row with its pictures.
  func row(_ golden: GoldenTensors, prefix: String = "") throws(Fault) -> ModelRow {
    try row(try PackedParity.batch(golden, prefix: prefix), of: golden, prefix: prefix)
  }

  /// - Parameter golden: where the pictures of `batch` are stored.
  func row(
    _ batch: PackedBatch, of golden: GoldenTensors, prefix: String = "",
    paddedSequences: [Range<Int>]? = nil
  ) throws(Fault) -> ModelRow {
    let vision = try config.vision.map { (config) throws(Fault) in
      RowVision(
        config: config,
        pictures: try GoldenVision(golden: golden, config: config, engine: engine)
          .input(batch.inputIDs, prefix: prefix))
    }
    return try ModelRow(
      batch, multiple: ModelRow.multiple(tp: groups.tp.size, sequenceParallel: sequenceParallel),
      padID: 0, vocabulary: config.vocabularySize, paddedSequences: paddedSequences,
      vision: vision, on: engine)
  }

  /// A gradient buffer per weight, not yet written.
  func attachGradients() throws(Fault) {
    for parameter in model.parameters where parameter.isTrainable {
      parameter.gradient = try Tensor.zeros(parameter.shape, .float32, on: engine)
      parameter.hasGradient = false
    }
  }

  /// All rows of an activation, in fp32, without the layout's padding.
  func whole(_ value: Tensor, placement: Placement, rows: Int) throws(Fault) -> [Float] {
    var tensor = value
    if placement.tp == .split(0) { tensor = try groups.tp.whole(value) }
    return Array(tensor.values.prefix(rows * tensor.rowSize))
  }

  /// The whole of every weight-shaped tensor under published names, fp32.
  /// - Parameter local: this rank's part of a parameter, or nil for zeros.
  func published(_ local: (Parameter) throws(Fault) -> [Float]?) throws(Fault) -> [String: [Float]]
  {
    let own = Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0) })
    var wholes: [String: [Float]] = [:]
    for row in map.all {
      var whole = [Float](repeating: 0, count: row.shape.reduce(1, *))
      if let parameter = own[row.name], groups.holdsFirstCopy(of: parameter),
        let values = try local(parameter)
      {
        parameter.slices.place(values, into: &whole)
      }
      try groups.world.sum(&whole)
      wholes[row.name] = whole
    }
    return map.published(wholes)
  }
}

extension NameMap {
  /// Our whole tensors as the published ones they are parts of.
  func published(_ values: [String: [Float]]) -> [String: [Float]] {
    var shapes: [String: [Int]] = [:]
    for (name, shape) in published { shapes[name] = shape }
    var result: [String: [Float]] = [:]
    for row in all {
      guard let whole = values[row.name] else { continue }
      let width = row.shape.dropFirst().reduce(1, *)
      for piece in row.pieces {
        let size = shapes[piece.published]?.reduce(1, *) ?? 0
        piece.place(
          whole, width: width,
          into: &result[piece.published, default: [Float](repeating: 0, count: size)])
      }
    }
    return result
  }
}

extension NameMapRow.Piece {
  /// Copies its part of one of our tensors, with rows of `width`, to where it is published.
  fileprivate func place(_ whole: [Float], width: Int, into result: inout [Float]) {
    guard let stride = transposedWidth else {
      let (from, to) = (row * width, publishedRow * width)
      result.replaceSubrange(
        to..<to + count * width, with: whole[from..<from + count * width])
      return
    }
    for r in 0..<count {
      for c in 0..<width {
        result[(publishedRow + c) * stride + publishedColumn + r] = whole[(row + r) * width + c]
      }
    }
  }
}

extension ParameterSlices {
  /// Copies local values to their places in the whole tensor.
  func place(_ values: [Float], into whole: inout [Float]) {
    let width = globalShape.dropFirst().reduce(1, *)
    let localWidth = localShape.dropFirst().reduce(1, *)
    for run in runs {
      if dim == 0 {
        whole.replaceSubrange(
          run.global * width..<(run.global + run.count) * width,
          with: values[run.local * width..<(run.local + run.count) * width])
      } else {
        for r in 0..<globalShape[0] {
          whole.replaceSubrange(
            r * width + run.global..<r * width + run.global + run.count,
            with: values[r * localWidth + run.local..<r * localWidth + run.local + run.count])
        }
      }
    }
  }
}

extension Communicator {
  func sum(_ values: inout [Float]) throws(Fault) {
    guard size > 1 else { return }
    try values.withUnsafeMutableBufferPointer { (p) throws(Fault) in
      try allReduce(p, order: .adjacentFirst)
    }
  }

  /// The rows of all ranks.
  func whole(_ x: Tensor) throws(Fault) -> Tensor {
    guard size > 1 else { return x }
    let all = try Tensor([x.rows * size] + x.shape.dropFirst(), x.dtype, on: x.engine)
    try allGather(UnsafeRawBufferPointer(x.bytes), into: all.bytes)
    return all
  }
}

extension RouterOptions {
  /// The choices of `config.json`; nil for a dense model.
  init?(_ config: QwenConfig) {
    guard let experts = config.experts else { return nil }
    self.init(experts: experts.count, topK: experts.topK)
    preSoftmax = !experts.normalizesTopK
  }
}
