import Support
import Tensor
import Testing

@testable import Model

/// Published tensors in memory.
final class MemoryTensors: PublishedTensors {
  var tensors: [String: (shape: [Int], values: [Float])] = [:]

  func describe(published name: String) -> (dtype: DType, shape: [Int])? {
    tensors[name].map { (.float32, $0.shape) }
  }
  func readElements(
    published name: String, _ elements: Range<Int>, into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    guard let values = tensors[name]?.values else {
      throw Fault(.badModelWeights, "no tensor \(name)")
    }
    Array(values[elements]).withUnsafeBytes { target.copyMemory(from: $0) }
  }
}

/// The published names of models with a tower, and both orders of their experts.
@Suite struct ExpertLayoutTests {
  /// Every element its own number.
  private func numbered(_ map: NameMap) -> MemoryTensors {
    let tensors = MemoryTensors()
    var next: Float = 0
    for (name, shape) in map.published {
      let count = shape.reduce(1, *)
      tensors.tensors[name] = (shape, (0..<count).map { next + Float($0) })
      next += Float(count)
    }
    return tensors
  }

  private func assembled(_ source: PublishedWeightSource, _ map: NameMap) throws -> MemoryTensors {
    let assembly = PublishedAssembly(source, map)
    let result = MemoryTensors()
    for (name, shape) in assembly.tensors {
      let values = UnsafeMutableBufferPointer<Float>.allocate(capacity: shape.reduce(1, *))
      defer { values.deallocate() }
      values.initialize(repeating: .nan)
      try assembly.read(name, into: UnsafeMutableRawBufferPointer(values))
      result.tensors[name] = (shape, Array(values))
    }
    return result
  }

  @Test("every published tensor comes back bit for bit", arguments: [0, 4])
  func roundTrip(experts: Int) throws {
    let config = try VisionRig.config(experts: experts)
    for layout in experts > 0 ? [ExpertLayout.transposed, .stacked] : [.separate] {
      let map = NameMap(config, experts: layout)
      let tensors = numbered(map)
      let back = try assembled(PublishedWeightSource(tensors, config), map)
      #expect(back.tensors.count == tensors.tensors.count)
      for (name, tensor) in tensors.tensors {
        #expect(back.tensors[name]?.values == tensor.values, "\(name) \(layout)")
      }
    }
  }

  @Test("rows that are streamed are those that are read, in both orders of experts, in any run")
  func streamedRows() throws {
    let config = try VisionRig.config(experts: 4)
    let memory = StreamMemory()
    for layout in [ExpertLayout.transposed, .stacked] {
      let map = NameMap(config, experts: layout)
      let tensors = numbered(map)
      let source = PublishedWeightSource(tensors, config)
      for row in map.all {
        let (count, width) = (row.shape[0], row.shape.dropFirst().reduce(1, *))
        for run in [0..<count, 1..<count, 0..<count / 2] where !run.isEmpty {
          var read = [Float](repeating: .nan, count: run.count * width)
          try read.withUnsafeMutableBytes {
            try source.read(row.name, rows: run, columns: 0..<width, into: $0)
          }
          for wholly in [true, false] {
            var streamed: [Float] = []
            try source.stream(row.name, rows: run, wholly: wholly, through: memory) { part in
              streamed += (0..<part.count / 4).map {
                part.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self)
              }
            }
            let isSame = streamed == read
            #expect(isSame, "\(row.name) \(run) \(layout)")
          }
        }
      }
      let assembly = PublishedAssembly(source, map)
      for (name, tensor) in tensors.tensors {
        var streamed: [Float] = []
        try assembly.stream(name, through: memory) { part in
          streamed += (0..<part.count / 4).map {
            part.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self)
          }
        }
        let isSame = streamed == tensor.values
        #expect(isSame, "\(name) \(layout)")
      }
    }
  }

  @Test("strips of a turned matrix follow each other without a gap", arguments: [2, 4])
  func strips(size: Int) throws {
    let (rows, stride, columns) = (1500, 410, 7..<407)
    let matrix = (0..<rows * stride * size).map {
      UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13)
    }
    let memory = StreamMemory()
    var turned: [UInt8] = []
    var strips = 0
    try matrix.withUnsafeBytes { raw in
      try ElementTranspose.strips(
        raw.baseAddress!, rowStride: stride, rows: rows, columns: columns, elementSize: size,
        room: memory.turned
      ) { part in
        turned += part
        strips += 1
      }
    }
    #expect(strips > 1)
    #expect(turned.count == rows * columns.count * size)
    for place in Swift.stride(from: 0, to: rows * columns.count, by: 37) {
      let (c, r) = (columns.lowerBound + place / rows, place % rows)
      let from = (r * stride + c) * size
      #expect(turned[place * size..<(place + 1) * size] == matrix[from..<from + size])
    }
  }

  @Test("the two orders of experts are told apart by shape and are transposes") func orders() throws
  {
    let config = try VisionRig.config(experts: 4)
    let old = numbered(NameMap(config, experts: .transposed))
    #expect(ExpertLayout.of(old, config) == (.transposed, false))
    let new = try assembled(
      PublishedWeightSource(old, config), NameMap(config, experts: .stacked))
    #expect(ExpertLayout.of(new, config) == (.stacked, false))
    let name = "model.language_model.layers.1.mlp.experts.gate_up_proj"
    let a = try #require(old.tensors[name])
    let b = try #require(new.tensors[name])
    let (h, f) = (32, 48)
    #expect(a.shape == [4, h, f] && b.shape == [4, f, h])
    for e in 0..<4 {
      for i in 0..<h {
        for j in 0..<f {
          #expect(a.values[(e * h + i) * f + j] == b.values[(e * f + j) * h + i])
        }
      }
    }
  }

  @Test("square experts are read by the version that wrote them") func square() throws {
    func config(_ version: String) throws -> QwenConfig {
      try VisionRig.config(experts: 4) { root in
        root["transformers_version"] = .string(version)
        guard case .object(var text)? = root["text_config"] else { return }
        text["moe_intermediate_size"] = JSONValue(16)
        root["text_config"] = .object(text)
      }
    }
    // gate_up_proj is [e, 32, 32]; down_proj tells.
    let tensors = numbered(NameMap(try config("4.57.1"), experts: .stacked))
    #expect(ExpertLayout.of(tensors, try config("4.57.1")) == (.stacked, false))
    tensors.tensors = tensors.tensors.filter { !$0.key.contains("down_proj") }
    #expect(ExpertLayout.of(tensors, try config("4.57.1")) == (.transposed, true))
    #expect(ExpertLayout.of(tensors, try config("5.1.0")) == (.stacked, true))
  }

  @Test("ranks of an expert-parallel layout read the same weights in both orders") func parts()
    throws
  {
    let config = try VisionRig.config(experts: 4)
    let old = numbered(NameMap(config, experts: .transposed))
    let new = try assembled(
      PublishedWeightSource(old, config), NameMap(config, experts: .stacked))
    let engine = try Engine()
    var layout = ModelLayout()
    layout.tp = (1, 2)
    layout.ep = (1, 2)
    layout.etp = (1, 2)
    func weights(_ tensors: MemoryTensors) throws -> [[Float]] {
      let model = try QwenModel(config, layout: layout, dtype: .float32, router: nil, on: engine)
      try model.load(from: PublishedWeightSource(tensors, config))
      return model.parameters.map(\.tensor.values)
    }
    #expect(try weights(old) == weights(new))
  }

  @Test("queries, keys and values of the tower lie head by head in memory") func heads() throws {
    let config = try VisionRig.config()
    let tensors = numbered(NameMap(config))
    let engine = try Engine()
    let model = try QwenModel(
      config, layout: ModelLayout(), dtype: .float32, router: nil, on: engine)
    try model.load(from: PublishedWeightSource(tensors, config))
    let name = "blocks.1.attn.qkv.bias"
    let ours = try #require(
      model.parameters.first { $0.name == QwenVision.prefix + name }?.tensor.values)
    let theirs = try #require(tensors.tensors["model.visual." + name]?.values)
    // Two heads of 12: q0 k0 v0 q1 k1 v1.
    let order = [0, 2, 4, 1, 3, 5].flatMap { Array($0 * 12..<($0 + 1) * 12) }
    #expect(ours == order.map { theirs[$0] })
  }
}

private func == (
  a: (layout: ExpertLayout, isGuess: Bool), b: (ExpertLayout, Bool)
) -> Bool { a.layout == b.0 && a.isGuess == b.1 }
