import Checkpoint
import DataPipeline
import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor
import Testing

@testable import Launcher

@Suite("Options that change a run", .serialized)
struct HonouredOptionTests {
  @Test("flags win over config.json and go into the config.json of the run")
  func architecture() throws {
    let rig = try TrainingRig()
    let run = try rig.build([
      "--train_iters", "1", "--rotary_base", "5000", "--norm_epsilon", "1e-5",
      "--max_position_embeddings", "128",
    ])
    #expect(run.folder.config.ropeTheta == 5000 && run.folder.config.normEpsilon == 1e-5)
    #expect(run.folder.config.maxPositions == 128)
    _ = try Trainer(run, signals: { [] }).train()
    let written = try QwenConfig(folder: run.directory)
    #expect(written == run.folder.config)
    let moe = try TrainingRig(.moe).build(["--train_iters", "1", "--moe_router_topk", "3"])
    #expect(moe.folder.config.experts?.topK == 3)
  }

  @Test("flags that contradict given weights are refused together, random weights take them")
  func shapes() throws {
    let rig = try TrainingRig()
    let words = ["--train_iters", "1", "--num_layers", "3", "--padded_vocab_size", "320"]
    let fault = try rig.fault(words + ["--moe_router_topk", "2"])
    #expect(fault.code == .optionsDisagree)
    for flag in ["--num_layers", "--padded_vocab_size", "--moe_router_topk"] {
      #expect(fault.description.contains(flag), "\(fault)")
    }
    let run = try rig.build(
      words + [
        "--no_initialization", "false", "--extra_megatron_kwargs", #"{"init_method_std": 0.5}"#,
      ])
    #expect(run.folder.config.layerCount == 3 && run.folder.config.vocabularySize == 320)
    let weight = try #require(run.model.parameters.first)
    let mean = weight.tensor.values.reduce(0) { $0 + $1 * $1 } / Float(weight.count)
    #expect(abs(mean.squareRoot() - 0.5) < 0.05)
  }

  @Test(
    "--save_safetensors writes a whole model beside each checkpoint, --save_total_limit keeps few")
  func published() throws {
    let rig = try TrainingRig()
    let run = try rig.run([
      "--train_iters", "3", "--save_interval", "1", "--save_safetensors", "true",
      "--save_total_limit", "2", "--te_extra_state", "false",
    ])
    let files = TrainingRig.files(run.directory)
    #expect(
      files.isSuperset(of: [
        "iter_0000002", "iter_0000003", "iter_0000002-hf", "iter_0000003-hf", "args.json",
      ]))
    #expect(!files.contains("iter_0000001") && !files.contains("iter_0000001-hf"))
    #expect(!files.contains { $0.hasPrefix(".tmp_") })
    let copy = try ModelFolder(model: run.directory + "/iter_0000003-hf", checkpoint: nil)
    #expect(
      TrainingRig.files(copy.path).isSuperset(of: ["tokenizer.json", "model.safetensors"]))
    let other = try QwenText(
      copy.config, layout: ModelLayout(), dtype: .bfloat16, router: nil, on: run.engine)
    try other.load(
      from: PublishedWeightSource(try PublishedFolder(copy.path), NameMap(copy.config)))
    for (a, b) in zip(run.model.parameters, other.parameters) {
      #expect(a.tensor.values == b.tensor.values, "\(a.name)")
    }
    let reader = try TorchDistReader(run.directory + "/iter_0000003")
    #expect(reader.index.objects.keys.allSatisfy { $0.hasPrefix("megatron_sft.") })
  }

  @Test("--log_params_norm and --log_throughput report the weights and the rows as they are")
  func measures() throws {
    let rig = try TrainingRig()
    let run = try rig.build([
      "--train_iters", "1", "--log_params_norm", "true", "--log_throughput", "true", "--lr", "0",
      "--padding_free", "false", "--micro_batch_size", "2",
    ])
    let sum = run.model.parameters.flatMap(\.tensor.values).reduce(0.0) {
      $0 + Double($1) * Double($1)
    }
    #expect(abs(try WeightNorm(run: run).value() - sum.squareRoot()) < 1e-9 * sum)
    let batch = try #require(try run.source.next())
    let outcome = try TrainingStep(run).make([try run.row(batch)])
    // Two rows of one length or a padded pair: only the rows themselves count.
    let lengths = zip(batch.cuSeqlens.dropFirst(), batch.cuSeqlens).map { Int($0 - $1) }
      .filter { $0 > 1 }
    #expect(lengths.count == 2)
    #expect(
      outcome.flops
        == run.folder.config.trainingFlops(tokens: lengths.reduce(0, +), documents: lengths))
    #expect(
      outcome.timers.map(\.name) == [
        "forward-backward", "optimizer", "all-grads-sync", "params-all-gather",
      ])
    let trained = try rig.run([
      "--train_iters", "1", "--log_params_norm", "true", "--log_throughput", "true", "--lr", "0",
    ])
    let record = try #require(try TrainingRig.records(trained).first)
    #expect((record["throughput"]?.double ?? 0) >= 0 && record["throughput"] != nil)
    #expect(abs((record["params_norm"]?.double ?? 0) - sum.squareRoot()) < 1e-3)
  }

  @Test("freeze flags that leave nothing to train stop the run")
  func nothingTrainable() throws {
    let fault = try TrainingRig().fault([
      "--train_iters", "1", "--freeze_parameters", "embedding", "decoder", "output_layer",
    ])
    #expect(fault.code == .optionsDisagree && fault.description.contains("nothing is left"))
  }

  @Test("the far tier lies in the folder of the run unless a flag says otherwise")
  func offloadFolder() throws {
    let rig = try TrainingRig()
    let run = try rig.run([
      "--train_iters", "2", "--optimizer_cpu_offload", "true", "--use_precision_aware_optimizer",
      "true",
    ])
    #expect(run.optimizer.bytes.far > 0)
    guard case .folder(let folder)? = run.optimizer.options.offload?.tier else {
      throw Unexpected(what: "no folder")
    }
    #expect(folder == run.directory)
  }

  @Test("part of an epoch counts in the form of swift sft")
  func partOfAnEpoch() throws {
    let rig = try TrainingRig()
    func iterations(_ epochs: String) throws -> Int {
      let options = try train(
        [
          "--num_train_epochs", epochs, "--train_type", "full", "--per_device_train_batch_size",
          "1", "--gradient_accumulation_steps", "2", "--output_dir", rig.save, "--max_length",
          "64", "--logging_level", "ERROR", "--threads", "1", "--gradient_checkpointing", "false",
        ], base: ["--model", rig.model, "--dataset", rig.folder.path + "/data.jsonl"])
      return try TrainingBuilder(options: options, world: SelfWorld()).build().trainIterations
    }
    #expect(try iterations("2") == 8)
    #expect(try iterations("1.4") == 6)
  }

  @Test("a model is found by its id in the cache of a hub")
  func hub() throws {
    let rig = try TrainingRig()
    let snapshot = rig.folder.path + "/hub/models--org--tiny/snapshots/abc"
    try FileManager.default.createDirectory(
      atPath: rig.folder.path + "/hub/models--org--tiny/snapshots",
      withIntermediateDirectories: true)
    try FileManager.default.moveItem(atPath: rig.model, toPath: snapshot)
    let launch = LaunchEnvironment([
      "HF_HUB_CACHE": rig.folder.path + "/hub", "MODELSCOPE_CACHE": rig.folder.path + "/ms",
    ])
    var flags = ModelFlags()
    flags.useHF = true
    let found = try ModelFolder(
      model: "org/tiny", checkpoint: nil, hub: HubAccess(launch, flags))
    #expect(found.path == snapshot)
    #expect(throws: Fault.self) {
      try ModelFolder(model: "org/other", checkpoint: nil, hub: HubAccess(launch, flags))
    }
  }

  @Test("experts with tensor parallelism need sequence_parallel: refused with all other reasons")
  func layoutReasons() throws {
    let rig = try TrainingRig(.moe)
    let config = try QwenConfig(folder: rig.model)
    var flags = ParallelFlags()
    flags.tensor = 8
    flags.expert = 3
    do {
      _ = try RankGroups.make(try PlanWorld(rank: 0, size: 24), MeshShape(flags), config)
      throw Unexpected(what: "no fault")
    } catch let fault as Fault {
      #expect(fault.code == .layoutRefused && fault.code.exit == .layout)
      let text = fault.description
      for word in ["sequence_parallel", "EP 3", "TP 8"] { #expect(text.contains(word), "\(text)") }
    }
  }
}
