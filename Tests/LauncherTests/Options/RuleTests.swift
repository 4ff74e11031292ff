import Support
import Testing

@testable import Launcher

@Suite("Conditions between options")
struct RuleTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let words: [String]
    /// What the message must contain.
    let says: String
    var base = ["--model", "m", "--dataset", "d.jsonl", "--max_epochs", "1"]
    var world = 1
    var code = FaultCode.optionsDisagree
    var testDescription: String { words.joined(separator: " ") }
  }

  static let cases: [Case] = [
    Case(
      words: ["--packing", "true", "--lazy_tokenize", "true"],
      says: "Packing and lazy_tokenize are incompatible."),
    Case(
      words: ["--streaming", "true", "--lazy_tokenize", "true", "--train_iters", "9"],
      says: "Streaming and lazy_tokenize are incompatible."),
    Case(words: ["--streaming", "true"], says: "set --train_iters"),
    Case(
      words: ["--streaming", "true", "--train_iters", "9", "--val_dataset", "v"],
      says: "set --eval_iters"),
    Case(
      words: [], says: "Please set --model",
      base: ["--dataset", "d", "--max_epochs", "1", "--no_initialization", "false"]),
    Case(
      words: [], says: "set --no_initialization false",
      base: ["--dataset", "d", "--max_epochs", "1"]),
    Case(
      words: [], says: "Please input the training dataset",
      base: ["--model", "m", "--max_epochs", "1"]),
    Case(
      words: [], says: "either train-iters or train-samples",
      base: ["--model", "m", "--dataset", "d"]),
    Case(
      words: [
        "--overlap_param_gather", "true", "--overlap_grad_reduce", "true",
        "--use_distributed_optimizer", "false",
      ], says: "--use_distributed_optimizer"),
    Case(words: ["--overlap_param_gather", "true"], says: "--overlap_grad_reduce"),
    Case(
      words: [
        "--mlp_padding_free", "true", "--padding_free", "false", "--sequence_parallel", "true",
        "--tensor_model_parallel_size", "2",
      ], says: "--mlp_padding_free", world: 2),
    Case(
      words: ["--global_batch_size", "6", "--micro_batch_size", "2"],
      says: "6 is not divisible by --micro_batch_size 2 times the data-parallel size 2", world: 2),
    Case(
      words: ["--recompute_granularity", "full", "--recompute_num_layers", "1"],
      says: "--recompute_method"),
    Case(
      words: ["--recompute_granularity", "full", "--recompute_method", "block"],
      says: "--recompute_num_layers"),
    Case(words: ["--recompute_num_layers", "1"], says: "--recompute_granularity full"),
    Case(
      words: [
        "--recompute_granularity", "full", "--recompute_method", "uniform",
        "--recompute_num_layers", "1", "--moe_layer_recompute",
      ], says: "--moe_layer_recompute"),
    Case(words: ["--recompute_modules", "moe_act"], says: "--moe_grouped_gemm"),
    Case(words: ["--recompute_modules", "mla_up_proj"], says: "latent attention"),
    Case(words: ["--optimizer_cpu_offload", "true"], says: "--use_precision_aware_optimizer"),
    Case(
      words: ["--use_precision_aware_optimizer", "true", "--optimizer", "sgd"],
      says: "--optimizer adam"),
    Case(
      words: ["--use_precision_aware_optimizer", "true", "--no_use_distributed_optimizer"],
      says: "--use_distributed_optimizer"),
    Case(
      words: ["--exp_avg_dtype", "bf16"],
      says: "--exp_avg_dtype bf16 needs --use_precision_aware_optimizer"),
    Case(words: ["--main_params_dtype", "fp16"], says: "--main_params_dtype fp16"),
    Case(words: ["--main_grads_dtype", "bf16"], says: "--main_grads_dtype bf16"),
    Case(words: ["--exp_avg_sq_dtype", "fp8"], says: "--exp_avg_sq_dtype fp8"),
    Case(
      words: ["--lr_warmup_fraction", "0.1", "--lr_warmup_iters", "3"],
      says: "--lr_warmup_iters exclude"),
    Case(
      words: ["--lr_warmup_iters", "10", "--train_iters", "10"], says: "warm-up must be shorter"),
    Case(
      words: ["--lr_warmup_iters", "4", "--train_iters", "10", "--lr_decay_iters", "4"],
      says: "warm-up must be shorter"),
    Case(words: ["--lr_warmup_fraction", "1"], says: "warm-up must be shorter"),
    Case(words: ["--min_lr", "1e-4", "--lr", "1e-5"], says: "--min_lr"),
    Case(words: ["--lr_decay_style", "WSD"], says: "--lr_wsd_decay_iters"),
    Case(
      words: ["--moe_pad_expert_input_to_capacity", "true"], says: "--moe_expert_capacity_factor"),
    Case(
      words: ["--moe_shared_expert_overlap", "true", "--moe_token_dispatcher_type", "allgather"],
      says: "--moe_token_dispatcher_type alltoall"),
    Case(words: ["--resume", "auto", "--finetune", "true"], says: "give one"),
    Case(words: ["--fp16", "true", "--bf16", "true"], says: "exclude each other"),
    Case(words: ["--freeze_llm", "true"], says: "nothing to train"),
    Case(
      words: ["--optimizer_offload_dir", "/tmp", "--optimizer_offload_numa", "1"],
      says: "exclude each other"),
    Case(
      words: ["--interleave_prob", "0.5", "0.5"],
      says: "one probability for each of the 1 data sets"),
    Case(
      words: ["--lr", "1", "--extra_megatron_kwargs", #"{"lr_warmup_init": 2}"#],
      says: "lr_warmup_init"),
    Case(
      words: ["--load", "/nowhere/at/all"], says: "path: '/nowhere/at/all' does not exist",
      code: .missingFile),
    Case(
      words: [
        "--extra_megatron_kwargs",
        #"{"use_checkpoint_opt_param_scheduler": true, "override_opt_param_scheduler": true}"#,
      ], says: "give one"),
    Case(words: ["--merge_lora", "true"], says: "needs --train_type lora"),
    Case(
      words: ["--train_type", "lora", "--merge_lora", "true"], says: "--save_safetensors true"),
    Case(
      words: ["--train_type", "lora", "--adapters", "/a", "/b"], says: "takes one folder"),
    Case(
      words: ["--train_type", "lora", "--adapters", "/nowhere/at/all"],
      says: "--adapters: path: '/nowhere/at/all' does not exist", code: .missingFile),
    Case(
      words: ["--tensor_model_parallel_size", "2", "--expert_model_parallel_size", "8"],
      says: "8 ranks", code: .worldDoesNotFit),
  ]

  @Test("a broken condition is reported with its message", arguments: cases)
  func broken(one: Case) throws {
    let fault = try trainFault(one.words, base: one.base, world: one.world)
    #expect(fault.description.contains(one.says), "\(fault)")
    let codes = [one.code, .wrongOptions, .optionsDisagree]
    #expect(codes.contains(fault.code), "\(fault)")
  }

  @Test("every condition of training has a case above or below")
  func allConditionsAreTried() throws {
    var broken: Set<String> = []
    for one in Self.cases {
      broken.formUnion(try Self.brokenRules(one.words, base: one.base, world: one.world))
    }
    // Tried elsewhere: refused before the rules run, or only in the swift form.
    let elsewhere: Set<String> = [
      "freeze_ratio_without_pipeline", "cached_without_context_parallel",
      "cached_is_neither_lazy_nor_streamed", "train_type_supported", "swift_form_packing_attention",
      "selective_recompute_without_method",
    ]
    let names = Set(TrainingRules.all.map(\.name))
    #expect(names.subtracting(broken).subtracting(elsewhere).isEmpty)
    #expect(names.count == TrainingRules.all.count, "names are unique")
  }

  /// Names of the rules that the line breaks, found on the record itself.
  static func brokenRules(_ words: [String], base: [String], world: Int) throws -> [String] {
    let options = try Self.unchecked(base + words, world: world)
    return TrainingRules.all.filter { $0.check(options) != nil }.map(\.name)
  }

  static func unchecked(_ words: [String], world: Int) throws -> TrainingOptions {
    var definition = TrainingOptions.definition(.sft, form: .megatron)
    definition.rules = []
    let launch = LaunchEnvironment(
      world > 1 ? ["OMPI_COMM_WORLD_SIZE": "\(world)", "OMPI_COMM_WORLD_RANK": "0"] : [:])
    guard
      case .run(let options) = try OptionReader(definition: definition, launch: launch).read(words)
    else { throw Unexpected(what: "text") }
    return options
  }

  @Test("conditions on refused options hold once the options are built")
  func laterConditions() {
    func broken(_ change: (inout TrainingOptions) -> Void) -> Set<String> {
      var options = TrainingOptions()
      change(&options)
      return Set(TrainingRules.all.filter { $0.check(options) != nil }.map(\.name))
    }
    #expect(
      broken {
        $0.tuner.freezeParametersRatio = 0.5
        $0.parallel.pipeline = 2
      }.contains("freeze_ratio_without_pipeline"))
    #expect(
      broken {
        $0.data.cachedDataset = ["c"]
        $0.parallel.context = 2
        $0.data.streaming = true
      }.isSuperset(of: ["cached_without_context_parallel", "cached_is_neither_lazy_nor_streamed"]))
    #expect(broken { $0.recompute.method = .block }.contains("selective_recompute_without_method"))
  }

  @Test("all broken conditions and refused options are reported at once")
  func together() throws {
    let fault = try trainFault([
      "--packing", "--lazy_tokenize", "true", "--optimizer_cpu_offload", "true",
      "--lr_warmup_fraction",
      "0.5", "--lr_warmup_iters", "1", "--pipeline_model_parallel_size", "2",
    ])
    #expect(fault.code == .wrongOptions && fault.code.exit == .usage)
    for text in ["Packing", "offload", "exclude each other", "pipeline parallelism is not built"] {
      #expect(fault.message.contains(text), "\(text)")
    }
  }

  @Test("the seed's expert command names both divisors on a smaller world and runs on 8 ranks")
  func seedCommand() throws {
    let words = [
      "--tensor_model_parallel_size", "2", "--expert_model_parallel_size", "8",
      "--sequence_parallel",
      "true", "--moe_grouped_gemm", "true", "--moe_shared_expert_overlap", "true",
      "--moe_aux_loss_coeff", "1e-6", "--moe_expert_capacity_factor", "2", "--micro_batch_size",
      "1",
      "--global_batch_size", "4", "--recompute_granularity", "full", "--recompute_method",
      "uniform",
      "--recompute_num_layers", "1", "--packing", "true", "--max_epochs", "1", "--finetune", "true",
      "--use_precision_aware_optimizer", "true", "--optimizer_cpu_offload", "true",
      "--optimizer_offload_fraction", "0.2", "--cross_entropy_loss_fusion", "true", "--freeze_llm",
      "false", "--freeze_vit", "true", "--freeze_aligner", "true", "--attention_backend", "flash",
    ]
    let fault = try trainFault(words, world: 3)
    #expect(
      fault.description.contains("by 2 (tensor 2")
        && fault.description.contains("by 8 (expert tensor 1 · expert 8"))
    let options = try train(words, world: 8)
    #expect(options.dataParallelSize == 4)
    #expect(options.report.inertLine?.contains("moe_shared_expert_overlap") == true)
  }

  @Test(
    "what is not built is refused with a sentence when it is switched on, accepted when it is off",
    arguments: [
      (["--pipeline_model_parallel_size", "2"], ["--pipeline_model_parallel_size", "1"]),
      (["--context_parallel_size", "2"], ["--context_parallel_size", "1"]),
      (["--fp8_format", "e4m3"], []),
      (["--quant_method", "bnb"], []),
      (["--multi_latent_attention", "true"], ["--multi_latent_attention", "false"]),
      (["--custom_register_path", "a.py"], []),
      (["--ckpt_format", "zarr"], ["--ckpt_format", "torch_dist"]),
      (["--moe_enable_deepep", "true"], ["--moe_enable_deepep", "false"]),
      (["--rlhf_type", "dpo"], []),
      (["--task_type", "seq_cls"], ["--task_type", "causal_lm"]),
    ])
  func refused(on: [String], off: [String]) throws {
    let fault = try trainFault(on, world: 2)
    #expect(fault.code == .refusedOption && fault.code.exit == .usage, "\(fault)")
    #expect(try train(off).report.world.size == 1)
  }

  @Test("options without meaning on a CPU are accepted and listed once")
  func inert() throws {
    let options = try train([
      "--no_rope_fusion", "true", "--wandb_project", "p", "--temperature", "0.5",
    ])
    #expect(
      options.report.inert.map(\.name).sorted() == [
        "no_rope_fusion", "temperature", "wandb_project",
      ])
    #expect(options.report.inertLine?.hasPrefix("accepted without effect: --") == true)
    #expect(try train([]).report.inertLine == nil)
  }
}
