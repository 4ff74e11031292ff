import Support
import Testing

@testable import Launcher

@Suite("Options that others make idle")
struct IdleOptionTests {
  static func idle(_ words: [String]) throws -> [String] {
    try train(words).report.inert.map(\.name).sorted()
  }

  @Test(
    "an option that means nothing in this run is listed with its reason, and not where it does",
    arguments: [
      ("packing_length", ["--packing_length", "32"], ["--packing", "true"]),
      (
        "shuffle_buffer_size", ["--shuffle_buffer_size", "9"],
        ["--streaming", "true", "--train_iters", "1"]
      ),
      ("sgd_momentum", ["--sgd_momentum", "0.5"], ["--optimizer", "sgd"]),
      (
        "optimizer_offload_fraction", ["--optimizer_offload_fraction", "0.5"],
        ["--optimizer_cpu_offload", "true", "--use_precision_aware_optimizer", "true"]
      ),
      ("eval_interval", ["--eval_interval", "5"], ["--val_dataset", "v"]),
      ("eval_iters", ["--eval_iters", "5"], ["--val_dataset", "v"]),
      ("seed", ["--seed", "7"], ["--no_initialization", "false"]),
      ("finetune", ["--finetune", "true"], ["--load", "/"]),
      (
        "moe_token_drop_policy", ["--moe_token_drop_policy", "position"],
        ["--moe_expert_capacity_factor", "2"]
      ),
    ])
  func listed(name: String, words: [String], other: [String]) throws {
    #expect(try Self.idle(words).contains(name))
    #expect(try !Self.idle(words + other).contains(name))
  }

  @Test("Megatron's own options without effect are listed, those that exclude each other refused")
  func extra() throws {
    let options = try train([
      "--extra_megatron_kwargs",
      #"{"override_opt_param_scheduler": true, "exit_signal_handler": true}"#,
    ])
    let line = try #require(options.report.inertLine)
    #expect(
      !line.contains("override_opt_param_scheduler") && line.contains("exit_signal_handler"))
    #expect(options.extra.overrideScheduler)
    let fault = try trainFault([
      "--extra_megatron_kwargs",
      #"{"use_checkpoint_opt_param_scheduler": true, "override_opt_param_scheduler": true}"#,
    ])
    #expect(fault.description.contains("use_checkpoint_opt_param_scheduler"))
  }

  @Test(
    "what was accepted in silence once is refused with a sentence",
    arguments: [
      (["--moe_router_load_balancing_type", "sinkhorn"], "sinkhorn routing"),
      (["--new_special_tokens", "<x>"], "vocabulary"), (["--model_name", "a"], "self-cognition"),
      (["--audit_every", "2"], "not built"),
    ])
  func refused(words: [String], says: String) throws {
    let fault = try trainFault(words)
    #expect(fault.code == .refusedOption && fault.description.contains(says), "\(fault)")
  }
}
