import Checkpoint
import Foundation
import Parallel
import Support
import Testing

@testable import Launcher

/// Runs in parts against runs in one go: the files must be equal, byte for byte.
@Suite("A run that was stopped and goes on is the same run", .serialized)
struct ExactResumeTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let words: [String]
    var kind = TinyModel.Kind.dense
    var ranks = 1
  }

  private static let aware = ["--use_precision_aware_optimizer", "true"]
  private static let cases = [
    Case(testDescription: "fp32", words: ["--torch_dtype", "float32", "--log_interval", "2"]),
    Case(testDescription: "bf16", words: ["--torch_dtype", "bfloat16", "--lr_warmup_iters", "2"]),
    Case(
      testDescription: "remainder, fp16 and fp8 moments",
      words: aware + [
        "--torch_dtype", "bfloat16", "--exp_avg_dtype", "fp16", "--exp_avg_sq_dtype", "fp8",
      ]),
    Case(
      testDescription: "fp16 master, bf16 moments, offload",
      words: aware + [
        "--torch_dtype", "bfloat16", "--main_params_dtype", "fp16", "--exp_avg_dtype", "bf16",
        "--optimizer_cpu_offload", "true", "--optimizer_offload_fraction", "0.5",
      ]),
    Case(
      testDescription: "sgd",
      words: ["--torch_dtype", "bfloat16", "--optimizer", "sgd"]),
    Case(
      testDescription: "fp16 with skipped steps",
      words: [
        "--fp16", "true", "--extra_megatron_kwargs",
        #"{"initial_loss_scale": 1e40, "hysteresis": 1, "loss_scale_window": 2}"#,
      ]),
    Case(
      testDescription: "moe with capacity, packing, evaluation",
      words: [
        "--torch_dtype", "float32", "--moe_expert_capacity_factor", "1.0", "--packing", "true",
        "--split_dataset_ratio", "0.3", "--eval_interval", "2", "--moe_aux_loss_coeff", "1e-3",
        "--log_interval", "5", "--dataloader_type", "single",
      ], kind: .moe),
    Case(
      testDescription: "streaming",
      words: [
        "--torch_dtype", "float32", "--streaming", "true", "--shuffle_buffer_size", "3",
        "--enable_channel_loss", "true",
      ]),
    Case(
      testDescription: "tp 2, ep 2, fp8 moments",
      words: aware + [
        "--torch_dtype", "bfloat16", "--exp_avg_sq_dtype", "fp8",
        "--tensor_model_parallel_size", "2", "--sequence_parallel", "true",
        "--expert_model_parallel_size", "2",
      ], kind: .moe, ranks: 2),
    Case(
      testDescription: "dp 2", words: ["--torch_dtype", "bfloat16"], ranks: 2),
  ]

  /// Trains on threads of this process.
  static func train(_ rig: TrainingRig, _ words: [String], ranks: Int) throws -> String {
    let folders = try ThreadWorld.run(ranks: ranks) { world -> String in
      let options = try rig.options(
        words,
        environment: ranks == 1
          ? [:] : ["OMPI_COMM_WORLD_SIZE": "\(ranks)", "OMPI_COMM_WORLD_RANK": "\(world.rank)"])
      let run = try TrainingBuilder(options: options, world: world).build()
      _ = try Trainer(run, signals: { [] }).train()
      return run.directory
    }
    return folders[0]
  }

  /// Rows of the log without times and memory.
  static func rows(_ folder: String) throws -> [JSONObject] {
    let text = try String(contentsOfFile: folder + "/logging.jsonl", encoding: .utf8)
    return try text.split(separator: "\n").compactMap { line in
      guard var row = try JSONValue.parse(String(line)).object else { return nil }
      for key in row.keys
      where ["memory", "elapsed", "remaining", "speed", "time"].contains(where: key.contains) {
        row[key] = nil
      }
      return row
    }
  }

  static func same(_ a: String, _ b: String) throws {
    let names = TrainingRig.files(a)
    try #require(names == TrainingRig.files(b) && !names.isEmpty)
    for name in names.sorted() {
      let (left, right) = (
        FileManager.default.contents(atPath: a + "/" + name),
        FileManager.default.contents(atPath: b + "/" + name)
      )
      #expect(left == right, "\(name) differs")
    }
  }

  @Test("weights, states, position and log rows are equal", arguments: cases)
  func exact(_ setting: Case) throws {
    let rig = try TrainingRig(setting.kind)
    let words =
      ["--train_iters", "6", "--lr", "1e-3", "--save_interval", "100", "--log_interval", "1"]
      + setting.words
    let whole = try Self.train(rig, words, ranks: setting.ranks)
    let part = try Self.train(
      rig, words + ["--extra_megatron_kwargs", Self.stopping(setting.words)], ranks: setting.ranks)
    #expect(TrainingRig.files(part).contains("iter_0000003"))
    let rest = try Self.train(rig, words + ["--load", part], ranks: setting.ranks)
    try Self.same(whole + "/iter_0000006", rest + "/iter_0000006")
    let expected = try Self.rows(whole)
    let found = try Self.rows(part) + Self.rows(rest)
    #expect(found.count == expected.count)
    for (a, b) in zip(found, expected) {
      #expect(JSONValue.object(a).write() == JSONValue.object(b).write())
    }
  }

  /// The extra options of the case, and the stop after step 3.
  private static func stopping(_ words: [String]) -> String {
    guard let place = words.firstIndex(of: "--extra_megatron_kwargs") else {
      return #"{"exit_interval": 3}"#
    }
    return words[place + 1].dropLast() + #", "exit_interval": 3}"#
  }
}
