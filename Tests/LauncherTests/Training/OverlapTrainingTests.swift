import Foundation
import Model
import Parallel
import Support
import Tensor
import Testing

@testable import Launcher

/// Whole runs with `--overlap_grad_reduce` and `--overlap_param_gather` on ranks of this process.
@Suite("Overlapped runs", .serialized, .timeLimit(.minutes(3)))
struct OverlapTrainingTests {
  private static let recipes =
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path + "/recipes"
  private static let media = [
    "ROOT_IMAGE_DIR": recipes + "/tiny", "IMAGE_MAX_TOKEN_NUM": "16", "VIDEO_MAX_TOKEN_NUM": "8",
    "FPS_MAX_FRAMES": "4",
  ]

  /// A run on `ranks` ranks: weights of every rank by name, and the losses of its log.
  private struct Ending: Equatable {
    var weights: [[String: [UInt32]]]
    var losses: [String]
  }

  private static let steps = [
    "--train_iters", "3", "--global_batch_size", "8", "--micro_batch_size", "1", "--lr", "1e-2",
    "--torch_dtype", "float32", "--split_dataset_ratio", "0.25", "--eval_interval", "2",
    "--save_interval", "2", "--dataloader_type", "single", "--add_version", "false",
  ]
  /// Buckets so small that every layer of the tiny models has several.
  private static let overlap = [
    "--overlap_grad_reduce", "true", "--extra_megatron_kwargs", #"{"ddp_bucket_size": 2000}"#,
  ]
  private static let gather = ["--overlap_param_gather", "true"]

  private func run(_ kind: TinyModel.Kind, ranks: Int, _ words: [String]) throws -> Ending {
    let rig = try TrainingRig(kind)
    var words = Self.steps + words
    if kind == .vl {
      words += [
        "--dataset", Self.recipes + "/tiny/pictures.jsonl", rig.folder.path + "/data.jsonl",
        "--max_length", "128",
      ]
    }
    let given = words
    let ends = try ThreadWorld.run(ranks: ranks) { world in
      let place = [
        "OMPI_COMM_WORLD_SIZE": "\(ranks)", "OMPI_COMM_WORLD_RANK": "\(world.rank)",
        "OMPI_COMM_WORLD_LOCAL_RANK": "\(world.rank)",
      ]
      let options = try rig.options(given, environment: Self.media.merging(place) { $1 })
      let run = try TrainingBuilder(options: options, world: world).build()
      _ = try Trainer(run, signals: { [] }).train()
      let weights = run.model.parameters.map { ($0.name, $0.tensor.values.map(\.bitPattern)) }
      return Dictionary(uniqueKeysWithValues: weights)
    }
    let log = try String(contentsOfFile: rig.save + "/logging.jsonl", encoding: .utf8)
    let losses = try log.split(separator: "\n").map { try JSONValue.parse(String($0)) }
      .compactMap { $0["lm loss"] ?? $0["eval_lm loss"] }.map { "\($0)" }
    return Ending(weights: ends, losses: losses)
  }

  private func check(_ kind: TinyModel.Kind, ranks: Int, _ words: [String]) throws {
    let plain = try run(kind, ranks: ranks, words)
    #expect(plain.losses.count >= 3)
    let reduced = try run(kind, ranks: ranks, words + Self.overlap)
    #expect(reduced == plain)
    guard !words.contains("--use_distributed_optimizer") else { return }
    #expect(try run(kind, ranks: ranks, words + Self.overlap + Self.gather) == plain)
  }

  @Test(
    "A dense model ends with the same bits",
    arguments: [
      [], ["--use_distributed_optimizer", "false"],
      [
        "--canonical_batch_chunks", "4", "--recompute_granularity", "full", "--recompute_method",
        "uniform", "--recompute_num_layers", "2",
      ],
      ["--train_type", "lora", "--lora_rank", "4", "--target_modules", "all-linear"],
      ["--freeze_parameters", "embedding", "decoder.layers.0"],
    ])
  func dense(words: [String]) throws { try check(.dense, ranks: 2, words) }

  @Test(
    "A mixture of experts ends with the same bits",
    arguments: [
      ["--expert_model_parallel_size", "2"],
      ["--expert_model_parallel_size", "2", "--canonical_batch_chunks", "4"],
    ])
  func experts(words: [String]) throws { try check(.moe, ranks: 2, words) }

  @Test("Tensor, expert and data parallelism together end with the same bits")
  func mixed() throws {
    try check(
      .moe, ranks: 4,
      [
        "--tensor_model_parallel_size", "2", "--sequence_parallel", "true",
        "--expert_model_parallel_size", "2",
      ])
  }

  @Test("A trained tower whose rows may have no picture ends with the same bits")
  func vision() throws {
    try check(.vl, ranks: 2, ["--freeze_vit", "false", "--freeze_aligner", "false"])
  }

  @Test("Optimizer states in a file end with the same bits")
  func offload() throws {
    try check(
      .dense, ranks: 2,
      [
        "--torch_dtype", "bfloat16", "--use_precision_aware_optimizer", "true",
        "--optimizer_cpu_offload", "true", "--optimizer_offload_fraction", "0.5",
      ])
  }
}
