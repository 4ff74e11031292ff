import Support
import Tensor
import Testing

@testable import Checkpoint

/// In the samples exp_avg is half of the master weight and exp_avg_sq its square: no reference needed.
@Suite struct OptimizerTests {
  static var samples: [String] { Samples.megatron.filter { $0.contains("optim") } }

  private func floats(_ bytes: [UInt8], _ dtype: DType) -> [Float] {
    let width = dtype.size
    return stride(from: 0, to: bytes.count, by: width).map { at in
      let bits = (0..<width).reduce(UInt32(0)) { $0 | UInt32(bytes[at + $1]) << (8 * $1) }
      return dtype == .bfloat16 ? BF16(bits: UInt16(bits)).float : Float(bitPattern: bits)
    }
  }

  private func check(_ master: [Float], _ first: [Float], _ second: [Float], _ weight: [Float]) {
    #expect(master.count == weight.count && master.count == first.count)
    // The master weights are one step of size 0.001 away from the stored ones.
    #expect(zip(master, weight).allSatisfy { abs($0 - $1) < 0.0011 })
    #expect(zip(master, first).allSatisfy { $1 == 0.5 * $0 })
    #expect(zip(master, second).allSatisfy { $1 == $0 * $0 })
  }

  @Test("States by parameter agree with the weights, whole and in parts", arguments: samples)
  func byParameter(_ sample: String) throws {
    let reader = try TorchDistReader(try Samples.iteration(sample))
    let common = try CommonState(folder: reader.folder)
    guard OptimizerStates.layout(reader, common) == .byParameter else { return }
    let reference = try SafetensorsFile(sample + "/reference_mcore.safetensors")
    let states = OptimizerStates(reader)
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    for part in OptimizerPart.adam {
      #expect(states.modelKeys(part) == Set(reference.tensors.map(\.name)))
    }
    for spec in reference.tensors {
      for whole in [true, false] {
        let ranges = spec.shape.map { size -> Range<Int> in
          let low = whole ? 0 : Int.random(in: 0..<size, using: &numbers)
          return low..<(whole ? size : Int.random(in: low...size, using: &numbers))
        }
        func read(_ part: OptimizerPart) throws -> [Float] {
          #expect(states.spec(part, of: spec.name)?.shape == spec.shape)
          var bytes = [UInt8](repeating: 0, count: Box(ranges).count * 4)
          try bytes.withMutableRaw { (raw) throws(Fault) in
            try states.read(part, of: spec.name, ranges: ranges, into: raw)
          }
          return floats(bytes, .float32)
        }
        var weight = [UInt8](repeating: 0, count: Box(ranges).count * spec.dtype.size)
        try weight.withMutableRaw { (raw) throws(Fault) in
          try reference.read(spec.name, ranges: ranges, into: raw)
        }
        check(
          try read(.master), try read(.firstMoment), try read(.secondMoment),
          floats(weight, spec.dtype))
      }
    }
  }

  /// Registration order of the local-spec model that made the sample.
  private static let layerOrder = [
    "self_attention.linear_qkv.layer_norm_weight", "self_attention.linear_proj.weight",
    "self_attention.linear_qkv.weight", "self_attention.q_layernorm.weight",
    "self_attention.k_layernorm.weight", "mlp.linear_fc1.layer_norm_weight",
    "mlp.linear_fc1.weight", "mlp.linear_fc2.weight",
  ]

  @Test("States in flat buffers agree with the weights")
  func flat() throws {
    let sample = Samples.fixtures + "/mcore016_dense_dp2_optim_dpr"
    let reader = try TorchDistReader(try Samples.iteration(sample))
    let common = try CommonState(folder: reader.folder)
    #expect(OptimizerStates.layout(reader, common) == .flatBuffers)
    let reference = try SafetensorsFile(sample + "/reference_mcore.safetensors")
    var order: [(key: String, stored: String, row: Int?)] = [
      ("e", "embedding.word_embeddings.weight", nil)
    ]
    for layer in 0..<2 {
      order += Self.layerOrder.map { ("\(layer).\($0)", "decoder.layers." + $0, layer) }
    }
    order += [("n", "decoder.final_layernorm.weight", nil), ("o", "output_layer.weight", nil)]
    func count(_ stored: String, _ row: Int?) -> Int {
      let spec = reference[stored]
      return (spec?.count ?? 0) / (row == nil ? 1 : spec?.shape.first ?? 1)
    }
    let parameters = order.map { (key: $0.key, count: count($0.stored, $0.row)) }
    let states = try FlatOptimizerStates(reader, group: 0, parameters: parameters)
    for (key, stored, row) in order {
      let spec = try #require(reference[stored])
      let size = count(stored, row)
      var weight = [UInt8](repeating: 0, count: size * spec.dtype.size)
      try weight.withMutableRaw { (raw) throws(Fault) in
        let first = row ?? 0
        let last = row.map { $0 + 1 } ?? spec.shape[0]
        try reference.read(stored, rows: first..<last, into: raw)
      }
      func read(_ part: OptimizerPart) throws -> [Float] {
        var bytes = [UInt8](repeating: 0, count: size * 4)
        try bytes.withMutableRaw { (raw) throws(Fault) in
          try states.read(part, of: key, into: raw)
        }
        return floats(bytes, .float32)
      }
      check(
        try read(.master), try read(.firstMoment), try read(.secondMoment),
        floats(weight, spec.dtype))
    }
    let short = parameters.dropLast()
    #expect(
      fault { _ = try FlatOptimizerStates(reader, group: 0, parameters: Array(short)) }?.code
        == .badOptimizerState)
  }

  @Test("Parameter groups and step counters are plain numbers", arguments: samples)
  func groups(_ sample: String) throws {
    let common = try CommonState(folder: try Samples.iteration(sample))
    let optimizer = try #require(common.optimizer)
    #expect(common.scheduler?["num_steps"]?.int == 40)
    guard let states = optimizer["param_state"] else { return }
    #expect(states[0]?["step"]?.double == 1)
    #expect(optimizer["optimizer"]?["param_groups"]?.items?.first?["step"]?.double == 1)
  }
}
