import Checkpoint
import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor
import Testing

@testable import Launcher

/// Checkpoints that megatron-core has written, restored into the optimizer of a run. In them exp_avg is
/// half of the master weight and exp_avg_sq its square, so that the values need no reference.
@Suite("Optimizer states that Megatron has written", .serialized)
struct MegatronStatesTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let sample: String
    var ranks = 1
    var shape = MeshShape()
    var isDistributed = true
    var testDescription: String { "\(sample) on \(ranks), \(shape)" }
  }

  private static let goldens = ProcessInfo.processInfo.environment["MEGATRON_GOLDENS"]
  private static let tp2 = MeshShape(tp: 2)

  private static var cases: [Case] {
    var cases: [Case] = []
    for sample in ["mcore013_dense_tp2_optim", "mcore016_dense_tp2_optim_frs"] {
      cases += [
        Case(sample: sample), Case(sample: sample, ranks: 2),
        Case(sample: sample, ranks: 2, shape: tp2),
        Case(sample: sample, ranks: 2, isDistributed: false),
      ]
    }
    for ranks in [1, 2] {
      cases.append(Case(sample: "mcore016_dense_dp2_optim_dpr", ranks: ranks))
    }
    if goldens != nil {
      cases += [
        Case(sample: "mcore013_dense_dp2_optim_fp"), Case(sample: "mcore013_moe_ep2_optim"),
        Case(
          sample: "mcore013_moe_ep2_optim", ranks: 2,
          shape: MeshShape(tp: 2, ep: 2, sequenceParallel: true)),
      ]
    }
    return cases
  }

  private static func path(_ sample: String) -> String {
    if let goldens { return "\(goldens)/checkpoint/\(sample)" }
    return URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().path + "/CheckpointTests/Fixtures/\(sample)"
  }

  /// The model of a sample, from what its maker noted.
  private static func config(_ sample: String) throws -> QwenConfig {
    let text = try AtomicFile.read(path(sample) + "/sample_info.json")
    let info = try text.withUnsafeBytes { try JSONValue.parse($0) }
    let facts = try #require(info["config"])
    let isSparse = facts["moe"]?.bool == true
    var json = JSONObject([("model_type", .string(isSparse ? "qwen3_moe" : "qwen3"))])
    let names = [
      ("hidden_size", "hidden"), ("num_hidden_layers", "layers"), ("num_attention_heads", "heads"),
      ("num_key_value_heads", "kv"), ("head_dim", "head_dim"), ("intermediate_size", "ffn"),
      ("vocab_size", "vocab"), ("num_experts", "experts"), ("num_experts_per_tok", "topk"),
      ("moe_intermediate_size", "moe_ffn"),
    ]
    for (name, fact) in names { json[name] = facts[fact] }
    let rest = #"""
      {"architectures": ["x"], "attention_bias": false, "attention_dropout": 0.0, "hidden_act": "silu",
       "initializer_range": 0.02, "max_position_embeddings": 128, "rms_norm_eps": 1e-06,
       "rope_theta": 10000.0, "rope_scaling": null, "torch_dtype": "bfloat16",
       "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": true}
      """#
    for (name, value) in try JSONValue.parse(rest).object?.members ?? [] { json[name] = value }
    json["tie_word_embeddings"] = facts["tie"]
    if !isSparse { for (name, _) in names.suffix(3) { json[name] = nil } }
    return try QwenConfig(json: .object(json), path: "config.json")
  }

  @Test("master and moments of every owned element are those of the checkpoint", arguments: cases)
  func restored(_ setting: Case) throws {
    let config = try Self.config(setting.sample)
    let steps = try ThreadWorld.run(ranks: setting.ranks) { world -> Int in
      let engine = try Engine(threads: 1)
      let (_, groups) = try RankGroups.make(world, setting.shape, config)
      let loaded = try LoadedCheckpoint.open(
        Self.path(setting.sample), fallback: .stop, world: world,
        logger: Logger(level: .error, rank: world.rank))
      let model = try QwenText(
        config, layout: groups.layout, dtype: .bfloat16, router: RouterOptions(config), on: engine)
      try model.load(from: MegatronWeights(loaded.reader, config))
      let before = model.parameters.map(\.tensor.values)
      var options = OptimizerOptions()
      options.isDistributed = setting.isDistributed
      let optimizer = try DistributedOptimizer(
        OptimizedParameter.trainable(
          model.parameters, tensorRank: groups.tp.rank, expertTensorRank: groups.etp.rank),
        groups: OptimizerGroups(
          dataParallel: groups.dp, expertDataParallel: groups.edp, world: world),
        options: options, engine: engine)
      _ = try OptimizerRestore(
        optimizer: optimizer, config: config, groups: groups, loaded: loaded
      ).apply()
      for owned in optimizer.ownedStates {
        func values(_ kind: StateKind) throws -> [Float] {
          var found: [Float] = []
          try optimizer.exportState(kind, of: owned.name, elements: owned.range) { (_, part) in
            found += part
          }
          return found
        }
        let master = try values(.master)
        #expect(master.count == owned.range.count)
        #expect(try values(.firstMoment) == master.map { 0.5 * $0 }, "\(owned.name)")
        #expect(try values(.secondMoment) == master.map { $0 * $0 }, "\(owned.name)")
      }
      // The stored weights are one step of 0.001 away from the stored masters.
      for (parameter, old) in zip(model.parameters, before) {
        let near = zip(parameter.tensor.values, old).allSatisfy {
          abs($0 - $1) <= 0.0011 + max(abs($0), abs($1)) / 128
        }
        #expect(near, "\(parameter.name)")
      }
      return optimizer.stepCount
    }
    #expect(steps == [Int](repeating: 1, count: setting.ranks))
  }

  @Test("flat buffers are refused in another layout, with the sizes that wrote them")
  func otherLayout() throws {
    let sample = "mcore016_dense_dp2_optim_dpr"
    let config = try Self.config(sample)
    let faults = try ThreadWorld.run(ranks: 2) { world -> String in
      let (_, groups) = try RankGroups.make(world, Self.tp2, config)
      let loaded = try LoadedCheckpoint.open(
        Self.path(sample), fallback: .stop, world: world,
        logger: Logger(level: .error, rank: world.rank))
      do throws(Fault) {
        try FlatLayout.check(loaded, groups)
        return ""
      } catch {
        return error.description
      }
    }
    #expect(faults.allSatisfy { $0.contains("tensor_model_parallel_size 1") })
  }
}
