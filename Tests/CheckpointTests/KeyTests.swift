import Support
import Testing

@testable import Checkpoint

@Suite struct KeyTests {
  @Test("A key taken apart and put together is the same key", arguments: Samples.megatron)
  func roundTrip(_ sample: String) throws {
    let reader = try TorchDistReader(try Samples.iteration(sample))
    for key in reader.index.keys { #expect(MegatronKey(stored: key).stored == key) }
  }

  @Test("Every published form of a key is understood")
  func forms() {
    let name = "mlp.experts.linear_fc1.weight"
    #expect(
      MegatronKey(stored: "decoder.layers.mlp.experts.experts.linear_fc1.weight")
        == MegatronKey(name, layer: .stacked, expert: .stacked))
    #expect(
      MegatronKey(stored: "decoder.layers.12.mlp.experts.experts.linear_fc1.weight")
        == MegatronKey(name, layer: .numbered(12), expert: .stacked))
    #expect(
      MegatronKey(stored: "language_model.decoder.layers.3.mlp.experts.7.linear_fc1.weight_v")
        == MegatronKey(
          name, prefix: "language_model.", layer: .numbered(3), expert: .numbered(7), half: .up))
    #expect(
      MegatronKey(stored: "visual.visual.blocks.7.attn.qkv.weight")
        == MegatronKey("visual.visual.blocks.7.attn.qkv.weight"))
  }

  @Test("A parameter is found in stacked, numbered and split checkpoints")
  func find() {
    let fc1 = "mlp.experts.linear_fc1.weight"
    let stacked = MegatronKeyMap(["decoder.layers.mlp.experts.experts.linear_fc1.weight"])
    #expect(stacked.find(fc1, layer: 3, expert: 7).map(\.leading) == [[3, 7]])
    let half = MegatronKeyMap(["decoder.layers.3.mlp.experts.experts.linear_fc1.weight"])
    #expect(half.find(fc1, layer: 3, expert: 7).map(\.leading) == [[7]])
    #expect(half.find(fc1, layer: 2, expert: 7).isEmpty)
    #expect(half.numberedLayers == 4)
    let split = MegatronKeyMap([
      "decoder.layers.3.mlp.experts.7.linear_fc1.weight_w",
      "decoder.layers.3.mlp.experts.7.linear_fc1.weight_v",
    ])
    #expect(split.find(fc1, layer: 3, expert: 7).map(\.half) == [.gate, .up])
    let vision = MegatronKeyMap([
      "language_model.decoder.final_layernorm.weight", "visual.visual.merger.norm.weight",
    ])
    #expect(vision.find("decoder.final_layernorm.weight").count == 1)
    #expect(vision.find("visual.visual.merger.norm.weight").count == 1)
  }

  @Test(
    "The list of extra states is the list that megatron-core wrote", arguments: Samples.megatron)
  func extraStates(_ sample: String) throws {
    // The optimizer samples of 0.16 and the minimal one do not stand for Transformer Engine.
    guard !sample.hasSuffix("minimal_torch_free"), !sample.contains("mcore016_dense_dp2"),
      !sample.contains("mcore016_dense_tp2")
    else { return }
    let text = try AtomicFile.read(sample + "/sample_info.json")
    let info = try text.withUnsafeBytes { try JSONValue.parse($0) }
    let config = try #require(info["config"])
    let layers = try #require(config["layers"]?.int)
    let sparse = config["moe"]?.bool == true
    let states = ExtraStates(
      prefix: config["vl"]?.bool == true ? "language_model." : "",
      layers: [ExtraStates.LayerKind](repeating: sparse ? .sparse : .dense, count: layers),
      experts: sparse ? config["experts"]?.int ?? 0 : 0)
    let reader = try TorchDistReader(try Samples.iteration(sample))
    let stored = reader.index.objects.keys.filter { $0.contains("_extra_state/") }
    #expect(Set(states.keys.map(\.key)) == Set(stored))
  }

  @Test("Layers of two kinds are numbered, their objects stand alone")
  func mixed() {
    let keys = ExtraStates(layers: [.dense, .sparse], experts: 2).keys.map(\.key)
    #expect(keys.contains("decoder.layers.0.mlp.linear_fc1._extra_state/shard_0_1"))
    #expect(keys.contains("decoder.layers.1.mlp.experts.experts.linear_fc2._extra_state/shard_1_2"))
  }
}
