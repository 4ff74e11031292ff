import Foundation
import Parallel
import Support
import Testing

@testable import Launcher

@Suite("Measurements")
struct BenchTests {
  private static func options(_ words: [String]) throws -> BenchOptions {
    guard case .run(let options) = try BenchOptions.read(words, launch: LaunchEnvironment([:]))
    else { throw Unexpected(what: "text") }
    return options
  }

  /// Runs one kind quickly and returns its lines.
  private static func lines(_ words: [String]) throws -> [JSONValue] {
    let folder = try TemporaryFolder()
    let file = folder.path + "/lines.jsonl"
    let options = try options(
      words + ["--output", file, "--threads", "1", "--seconds", "0", "--repeats", "1"])
    #expect(try BenchEntry.run(options) == .done)
    let text = try String(contentsOfFile: file, encoding: .utf8)
    return try text.split(separator: "\n").map { try JSONValue.parse(String($0)) }
  }

  @Test("a product gives a line each for forward, input and weight gradient with all fields")
  func gemm() throws {
    let lines = try Self.lines([
      "gemm", "--m", "24", "--n", "40", "--k", "32", "--torch_dtype", "bfloat16",
    ])
    #expect(
      lines.compactMap { $0["operation"]?.string } == [
        "forward", "input_gradient", "weight_gradient",
      ])
    for line in lines {
      for key in ["machine", "level", "dtype", "clock"] { #expect(line[key]?.string != nil) }
      for key in ["threads", "samples"] { #expect(line[key]?.int ?? 0 >= 1) }
      #expect(line["shape"]?["k"]?.int == 32)
      #expect(line["median"]?.double ?? 0 > 0)
      #expect(line["spread"]?.double ?? -1 >= 0)
      #expect(line["GF/s"]?.double ?? 0 > 0)
      #expect(line["share_of_peak"]?.double ?? 0 > 0)
    }
  }

  @Test("experts and documents are measured as they are given")
  func shapes() throws {
    let grouped = try Self.lines([
      "grouped", "--experts", "3", "--rows", "5", "--n", "16", "--k", "8",
    ])
    #expect(grouped.count == 3)
    #expect(grouped[0]["shape"]?["experts"]?.int == 3)
    let attention = try Self.lines([
      "attention", "--lengths", "33,7", "--heads", "4", "--kv_heads", "2", "--head_dim", "20",
    ])
    #expect(
      attention.compactMap { $0["operation"]?.string } == ["forward", "forward_backward"])
    #expect(attention[1]["shape"]?["lengths"] == .array([JSONValue(33), JSONValue(7)]))
  }

  @Test("sizes that cannot be measured are refused")
  func refused() throws {
    for words in [
      ["attention", "--lengths", "12,x"], ["attention", "--head_dim", "6"], ["gemm", "--m", "0"],
    ] {
      #expect(throws: Fault.self) { try Self.options(words) }
    }
    #expect(throws: Fault.self) { try Self.lines(["collectives"]) }
    #expect(throws: Fault.self) {
      try Self.lines(["attention", "--heads", "5", "--kv_heads", "2"])
    }
  }

  @Test("the figure is the median of the better half")
  func median() {
    let timing = Timing([9, 1, 2, 8, 3, 7])
    #expect(timing.median == 2)
    #expect(timing.fastest == 1)
    #expect(timing.slowest == 9)
    #expect(timing.spread == 1)
  }

  @Test("the table replaces what lies between its marks and nothing else")
  func table() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write(
      "p.md", "before\n\(BenchTable.begin)\nold\n\(BenchTable.end)\nafter\n")
    let line = JSONObject([
      ("kind", .string("gemm")), ("operation", .string("forward")), ("dtype", .string("float32")),
      ("machine", .string("M")), ("level", .string("avx2")), ("threads", JSONValue(1)),
      ("ranks", JSONValue(1)), ("clock", .string("cpu")),
      ("shape", .object(JSONObject([("m", JSONValue(3))]))), ("median", JSONValue(0.5)),
      ("spread", JSONValue(0.25)), ("GF/s", JSONValue(12.0)), ("share_of_peak", JSONValue(0.5)),
    ])
    let generated = JSONObject([
      ("kind", .string("generate")), ("case", .string("decode")), ("dtype", .string("bfloat16")),
      ("model", .string("small")), ("batch", JSONValue(2)), ("cpu_seconds", JSONValue(0.25)),
      ("tokens_per_cpu_second", JSONValue(8.0)),
    ])
    let read = JSONObject([
      ("kind", .string("data")), ("case", .string("decode a.png")), ("unit", .string("pictures")),
      ("count", JSONValue(3)), ("cpu_s", JSONValue(0.5)), ("per_cpu_s", JSONValue(6.0)),
    ])
    try BenchTable(file).write([line, generated, read])
    let text = try String(contentsOfFile: file, encoding: .utf8)
    #expect(text.hasPrefix("before\n\(BenchTable.begin)\nM; level avx2;"))
    #expect(
      text.contains("| gemm | forward | float32 | m 3 | 500.0 ms | 25 % | 12 GF/s | 50 % |\n"))
    #expect(
      text.contains(
        "| generate | decode | bfloat16 | small, batch 2 | 250.0 ms |  | 8 tokens/s |  |\n"))
    #expect(text.contains("| data | decode a.png |  | count 3 | 500.0 ms |  | 6 pictures/s |  |\n"))
    #expect(text.hasSuffix("\(BenchTable.end)\nafter\n"))
    #expect(!text.contains("old"))
    let bare = try folder.write("bare.md", "nothing")
    #expect(throws: Fault.self) { try BenchTable(bare) }
  }

  @Test("a step gives rates, memory and a split of its time that adds up")
  func step() throws {
    let folder = try TemporaryFolder()
    _ = try folder.write(
      "config.json",
      """
      {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 32,
       "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
       "intermediate_size": 48, "vocab_size": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000,
       "tie_word_embeddings": true, "hidden_act": "silu", "max_position_embeddings": 64,
       "torch_dtype": "bfloat16"}
      """)
    let lines = try Self.lines([
      "step", "--model", folder.path, "--seq", "32", "--micro_batch", "2", "--steps", "2",
      "--trained", "0.5",
    ])
    let line = try #require(lines.first)
    for key in [
      "tokens_per_second", "cpu_seconds_per_step", "peak_rss_bytes", "model_gflop", "mfu", "loss",
    ] {
      #expect(line[key]?.double ?? 0 > 0, "\(key)")
    }
    #expect(line["allocations_after_first_step"]?.int == 0)
    let split = try #require(line["time_split"]?.object)
    #expect(split.keys.contains("attention.backward"))
    #expect(split.keys.contains("optimizer"))
    let sum = split.members.reduce(0) { $0 + ($1.value.double ?? 0) }
    #expect(abs(sum - 1) < 0.01)
  }

  @Test("a step of a mixture asks the system for no memory after the first", arguments: [1, 2])
  func steadyMixture(threads: Int) throws {
    let folder = try TemporaryFolder()
    _ = try folder.write(
      "config.json",
      """
      {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 32,
       "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
       "intermediate_size": 48, "moe_intermediate_size": 16, "num_experts": 4,
       "num_experts_per_tok": 2, "norm_topk_prob": true, "decoder_sparse_step": 1,
       "mlp_only_layers": [], "vocab_size": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000,
       "tie_word_embeddings": false, "hidden_act": "silu", "max_position_embeddings": 64,
       "torch_dtype": "bfloat16"}
      """)
    let line = try #require(
      try Self.lines([
        "step", "--model", folder.path, "--seq", "32", "--micro_batch", "1", "--steps", "6",
        "--threads", "\(threads)",
      ]).first)
    #expect(line["allocations_after_first_step"]?.int == 0)
  }
}
