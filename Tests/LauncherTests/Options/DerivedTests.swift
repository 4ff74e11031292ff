import Foundation
import Support
import Testing

@testable import Launcher

@Suite("What follows from other options")
struct DerivedTests {
  @Test("packing implies padding_free")
  func packing() throws {
    #expect(try train(["--packing", "--padding_free", "false"]).data.paddingFree)
  }

  @Test("validation data and streaming switch the split off, with a note")
  func split() throws {
    let options = try train(["--split_dataset_ratio", "0.1", "--val_dataset", "v"])
    #expect(options.data.splitDatasetRatio == 0)
    #expect(options.report.notes.contains { $0.contains("split_dataset_ratio=0") })
    let stream = try train([
      "--split_dataset_ratio", "0.1", "--streaming", "true", "--train_iters", "3",
    ])
    #expect(stream.data.splitDatasetRatio == 0 && stream.data.dataloaderType == .external)
    #expect(stream.data.numWorkers == 1)
  }

  @Test("sequence_parallel without tensor parallelism is switched off with a warning")
  func sequenceParallel() throws {
    let options = try train(["--sequence_parallel", "true"])
    #expect(!options.parallel.sequenceParallel && options.report.warnings.count == 1)
    let two = try train(
      ["--sequence_parallel", "true", "--tensor_model_parallel_size", "2"], world: 2)
    #expect(two.parallel.sequenceParallel && two.report.warnings.isEmpty)
  }

  @Test("megatron-pt trains on plain text and says so")
  func pretraining() throws {
    let options = try train([], program: .pt)
    #expect(options.template.useChatTemplate == false && options.template.lossScale == "all")
    #expect(options.report.notes.contains { $0.contains("use_chat_template=false") })
    #expect(try train([]).template.useChatTemplate == true)
  }

  @Test("intervals, rate, save folder and lengths get their defaults")
  func defaults() throws {
    let options = try train(["--save_interval", "7", "--max_length", "64", "--packing"])
    #expect(options.logging.evalInterval == 7 && options.schedule.lr == 1e-5)
    #expect(options.checkpoint.save?.hasSuffix("/megatron_output/m") == true)
    #expect(options.data.packingLength == 64 && options.data.seqLength == 64)
    #expect(options.precision.calculatePerTokenLoss == true)
  }

  @Test(
    "the compute type follows from the flags and the type of the weights",
    arguments: [
      ([], ModelFlags.TorchDType.bfloat16, PrecisionFlags.Compute.bf16), ([], .float16, .fp16),
      ([], .float32, .fp32), (["--fp16", "true"], .float32, .fp16),
      (["--bf16", "true"], .float32, .bf16),
      (["--bf16", "false"], .bfloat16, .fp32),
      (["--fp16", "false", "--bf16", "false"], .float32, .fp32),
    ])
  func precision(
    words: [String], type: ModelFlags.TorchDType, expected: PrecisionFlags.Compute
  ) throws {
    #expect(try train(words).precision.compute(for: type) == expected)
  }

  @Test("newer spellings are aliases in the Megatron form, and may not meet the old ones")
  func aliases() throws {
    let options = try train([
      "--output_dir", "/o", "--save_steps", "3", "--eval_steps", "4", "--logging_steps", "2",
      "--dataloader_num_workers", "0", "--tuner_type", "full", "--mcore_model", "/",
    ])
    #expect(options.form == .megatron)
    #expect(options.checkpoint.save == "/o" && options.checkpoint.saveInterval == 3)
    #expect(options.logging.evalInterval == 4 && options.logging.logInterval == 2)
    #expect(options.data.numWorkers == 0 && options.checkpoint.load == "/")
    #expect(
      try train(["--num_train_epochs", "2"], base: ["--model", "m", "--dataset", "d"]).schedule
        .maxEpochs == 2)
    let fault = try trainFault(["--output_dir", "/o", "--save", "/o"])
    #expect(fault.code == .optionsDisagree && fault.message.contains("two spellings"))
  }

  @Test("extra_megatron_kwargs reaches Megatron's own names and the options of the table")
  func extra() throws {
    let options = try train([
      "--extra_megatron_kwargs",
      #"{"exit_interval": 5, "loss_scale": 128, "clip_grad": 2, "lr": 3, "lr_wsd_decay_iters": 2}"#,
      "--lr", "1",
    ])
    #expect(options.extra.exitInterval == 5 && options.extra.lossScale == 128)
    #expect(options.template.lossScale == "default", "the token weights are another option")
    #expect(options.optimizer.clipGrad == 2 && options.schedule.lr == 1)
    #expect(options.schedule.lrWSDDecayIters == 2)
    #expect(options.report.parsed.origin("clip_grad") == .extraKeywords)
  }

  @Test(
    "a wrong extra_megatron_kwargs is an error",
    arguments: [
      (#"{"exit_intervall": 5}"#, "exit_interval"), ("[1]", "object"),
      (#"{"hysteresis": "x"}"#, "int"),
      (#"{"exit_interval": 0}"#, "at least 1"),
      (#"{"use_checkpoint_opt_param_scheduler": "perhaps"}"#, "use_checkpoint"),
    ])
  func badExtra(json: String, says: String) throws {
    let fault = try trainFault(["--extra_megatron_kwargs", json])
    #expect(fault.code.exit == .usage && fault.description.contains(says), "\(fault)")
  }

  @Test(
    "times such as 3h50m are read",
    arguments: [("3h50m", 13800), ("90m", 5400), ("45", 45), ("1d1s", 86401)])
  func stopAfter(text: String, seconds: Int) throws {
    #expect(try train(["--stop_after", text]).run.stopAfterSeconds == seconds)
  }

  @Test("a wrong time is refused", arguments: ["3x", "h", "-5", "5m3", ""])
  func badStopAfter(text: String) throws {
    #expect(try trainFault(["--stop_after", text]).code == .badOptionValue)
  }
}

@Suite("The form of swift sft")
struct SwiftFormTests {
  static let base = ["--model", "org/m", "--dataset", "d", "--train_type", "full"]

  @Test("one of its flags makes the whole line be read in its form")
  func recognised() throws {
    let options = try train(["--learning_rate", "2e-3"], base: Self.base)
    #expect(options.form == .swift && options.schedule.lr == 2e-3)
    #expect(options.report.notes.first?.contains("form of swift sft") == true)
    #expect(options.swift.numTrainEpochs == 3 && options.schedule.maxEpochs == 3)
    #expect(options.checkpoint.saveInterval == 500 && options.logging.evalInterval == 500)
    #expect(options.checkpoint.save?.hasSuffix("/output/m") == true)
    #expect(
      try train(["--save_steps", "2", "--max_epochs", "1"], base: Self.base).form == .megatron)
  }

  @Test("the whole command of a stored run is understood")
  func storedRun() throws {
    let words = [
      "--attn_impl", "sdpa", "--dataset_shuffle", "false", "--train_dataloader_shuffle", "false",
      "--per_device_train_batch_size", "2", "--per_device_eval_batch_size", "2",
      "--gradient_accumulation_steps", "2", "--learning_rate", "2e-3", "--lr_scheduler_type",
      "cosine", "--warmup_ratio", "0.2", "--weight_decay", "0.1", "--adam_beta1", "0.9",
      "--adam_beta2", "0.95", "--max_grad_norm", "1.0", "--gradient_checkpointing", "true",
      "--num_train_epochs", "1", "--logging_steps", "1", "--eval_strategy", "steps",
      "--eval_steps", "8", "--save_strategy", "no", "--dataloader_num_workers", "0",
      "--dataset_num_proc", "1", "--report_to", "tensorboard", "--seed", "42", "--output_dir",
      "out",
      "--max_length", "200", "--truncation_strategy", "delete", "--torch_dtype", "float32",
      "--fp16",
      "false", "--bf16", "false", "--model_type", "qwen3", "--split_dataset_ratio", "0",
    ]
    let options = try train(words, base: Self.base, world: 2)
    #expect(options.schedule.microBatchSize == 2 && options.schedule.globalBatchSize == 8)
    #expect(options.schedule.lrWarmupFraction == 0.2 && options.schedule.maxEpochs == 1)
    #expect(options.data.dataloaderType == .single && !options.data.paddingFree)
    #expect(options.recompute.granularity == .full && options.recompute.numLayers == 1)
    #expect(options.logging.logInterval == 1 && options.logging.evalInterval == 8)
    #expect(options.swift.saveStrategy == .no && options.data.numWorkers == 0)
    #expect(options.checkpoint.saveInterval == Int.max)
    #expect(options.checkpoint.save?.hasSuffix("/out") == true)
  }

  @Test("save_strategy and eval_strategy epoch count unless an interval is given")
  func epochStrategies() throws {
    let words = ["--learning_rate", "1", "--save_strategy", "epoch", "--eval_strategy", "epoch"]
    let options = try train(words, base: Self.base)
    #expect(options.savesByEpoch && options.evaluatesByEpoch)
    let given = try train(words + ["--save_steps", "3", "--eval_steps", "4"], base: Self.base)
    #expect(!given.savesByEpoch && !given.evaluatesByEpoch)
  }

  @Test("the accumulation fills up to 16 rows per step")
  func accumulation() throws {
    let options = try train(["--per_device_train_batch_size", "3"], base: Self.base, world: 2)
    #expect(options.swift.gradientAccumulationSteps == 3 && options.schedule.globalBatchSize == 18)
  }

  @Test("adapters are its default, and those of the Megatron form are asked for")
  func adapters() throws {
    let base = ["--model", "m", "--dataset", "d"]
    #expect(try train(["--learning_rate", "1"], base: base).tuner.trainType == .lora)
    #expect(try train(["--lr", "1", "--train_iters", "1"], base: base).tuner.trainType == .full)
  }

  @Test("packing needs flash attention in this form")
  func packing() throws {
    let words = ["--learning_rate", "1", "--packing", "true"]
    #expect(try trainFault(words, base: Self.base).description.contains("flash_attn"))
    #expect(try train(words + ["--attn_impl", "flash_attn"], base: Self.base).data.paddingFree)
  }

  @Test(
    "both spellings of one quantity are a usage error",
    arguments: SwiftFormFlags.pairs.map { [$0.0, $0.1] })
  func bothSpellings(pair: [String]) throws {
    func value(_ name: String) -> String {
      guard let spec = TrainingOptions.swiftTable.spec(name) else { return "1" }
      switch spec.kind {
      case .bool: return "true"
      case .choice(let words): return words[0]
      case .text:
        return name == "deepspeed" ? "zero1" : name == "lr_scheduler_type" ? "cosine" : "/"
      default: return "1"
      }
    }
    let fault = try trainFault(
      ["--warmup_ratio", "0.5", "--" + pair[0], value(pair[0]), "--" + pair[1], value(pair[1])],
      base: Self.base)
    #expect(
      fault.description.contains("--\(pair[0]) and --\(pair[1]) are two spellings"), "\(fault)")
  }

  @Test("deepspeed stages choose whether the optimizer state is split")
  func deepspeed() throws {
    #expect(try !train(["--deepspeed", "zero0"], base: Self.base).parallel.useDistributedOptimizer)
    #expect(try train(["--deepspeed", "zero2"], base: Self.base).parallel.useDistributedOptimizer)
    let folder = try TemporaryFolder()
    let file = try folder.write("ds.json", #"{"zero_optimization": {"stage": 0}}"#)
    #expect(try !train(["--deepspeed", file], base: Self.base).parallel.useDistributedOptimizer)
    #expect(try trainFault(["--deepspeed", "zero9"], base: Self.base).code == .badOptionValue)
  }
}
