import Checkpoint
import Foundation
import Model
import Parallel
import Support
import Testing

@testable import Launcher

/// Runs that train adapters.
@Suite("Training of adapters", .serialized) struct AdapterTrainingTests {
  private let words = [
    "--train_type", "lora", "--lora_rank", "4", "--train_iters", "4", "--lr", "1e-2",
    "--save_interval", "2", "--add_version", "false", "--dataloader_type", "single",
  ]

  private func files(_ run: TrainingRun) throws -> [String] { try Folder.names(run.directory) }

  @Test("the base stays as it is, the adapter is saved alone and goes on from there")
  func saves() throws {
    let rig = try TrainingRig(.moe)
    let run = try rig.run(words + ["--save_safetensors", "true"])
    let losses = try TrainingRig.records(run).compactMap { $0["lm loss"]?.double }
    #expect(losses.count == 4 && losses[3] < losses[0])
    #expect(run.model.parameters.allSatisfy { $0.isTrainable == $0.role.isAdapter })
    let reader = try TorchDistReader("\(run.directory)/iter_0000004")
    #expect(reader.index.tensors.keys.allSatisfy { $0.contains(".lora_") })
    let checkpoint = try AdapterCheckpoint(run.directory, run.folder.config)
    #expect(checkpoint.plan.sites == run.model.adapters?.sites)
    let peft = try AdapterFolder("\(run.directory)/iter_0000004-hf")
    #expect(peft.config.rank == 4 && peft.config.alpha == 32)

    let found = try StoreDifference(
      a: "\(run.directory)/iter_0000004", b: "\(run.directory)/iter_0000004-hf", model: rig.model
    ).run()
    #expect(found.isEqual && found.equal == run.model.adapterParameters.count, "\(found.lines)")
    let older = try StoreDifference(
      a: "\(run.directory)/iter_0000002", b: "\(run.directory)/iter_0000004-hf", model: rig.model
    ).run()
    #expect(older.lines.contains { $0.contains("lora_B") && $0.contains("differ") })

    let next = try rig.build(words + ["--adapter_load", run.directory])
    for (a, b) in zip(next.model.adapterParameters, run.model.adapterParameters) {
      #expect(a.name == b.name && a.tensor.values == b.tensor.values)
    }
    #expect(next.position.iteration == 4)
  }

  @Test("two steps, a stop and two more are four steps, dropout included") func goesOn() throws {
    let rig = try TrainingRig(.moe)
    let whole = try rig.run(words)
    let rest = try rig.run(
      words + [
        "--adapter_load", whole.directory + "/iter_0000002", "--save",
        rig.folder.path + "/second",
      ])
    #expect(rest.position.iteration == 4)
    for (a, b) in zip(rest.model.adapterParameters, whole.model.adapterParameters) {
      #expect(a.tensor.values == b.tensor.values, "\(a.name)")
    }
  }

  @Test(
    "the form of swift sft writes checkpoint-N that --adapters takes; a short step ends an epoch")
  func swiftForm() throws {
    let rig = try TrainingRig()
    let swift = [
      "--num_train_epochs", "2", "--per_device_train_batch_size", "1",
      "--gradient_accumulation_steps", "3", "--learning_rate", "1e-2", "--save_steps", "2",
      "--save_total_limit", "2", "--lora_rank", "4", "--output_dir", rig.save,
    ]
    let base = [
      "--model", rig.model, "--dataset", rig.folder.path + "/data.jsonl", "--max_length", "64",
      "--threads", "1", "--show_samples", "0", "--logging_level", "ERROR", "--logging_steps", "1",
    ]
    let options = try train(swift, base: base)
    let run = try TrainingBuilder(options: options, world: SelfWorld()).build()
    _ = try Trainer(run).train()
    // 8 rows: steps of 3, 3 and 2 in each epoch.
    #expect(run.position.iteration == 6)
    #expect(
      try files(run).filter { $0.hasPrefix("checkpoint-") }.sorted() == [
        "checkpoint-4", "checkpoint-6",
      ])
    let folder = run.directory + "/checkpoint-6"
    for name in [
      "adapter_model.safetensors", "adapter_config.json", "additional_config.json", "args.json",
      "trainer_state.json",
    ] {
      #expect(Folder.kind("\(folder)/\(name)") == .file, "\(name)")
    }
    let config = try AdapterConfig(folder: folder)
    #expect(config.json["target_modules"]?.array?.count == 7)
    let again = try train(swift + ["--adapters", folder], base: base)
    let next = try TrainingBuilder(options: again, world: SelfWorld()).build()
    for (a, b) in zip(next.model.adapterParameters, run.model.adapterParameters) {
      #expect(a.tensor.values == b.tensor.values, "\(a.name)")
    }
  }

  @Test("flags that leave nothing to adapt are refused") func nothingToAdapt() throws {
    let rig = try TrainingRig()
    for extra in [["--target_modules", "q_proj"], ["--target_regex", "nothing"]] {
      #expect(try rig.fault(words + extra).code == .badAdapterTarget)
    }
  }

  @Test("--merge_lora writes one model that has every weight, the adapted ones moved")
  func mergedModel() throws {
    let rig = try TrainingRig()
    let run = try rig.run([
      "--train_iters", "2", "--lr", "1e-2", "--train_type", "lora", "--target_modules",
      "linear_qkv", "--save_safetensors", "true", "--merge_lora", "true",
    ])
    let folder = run.directory + "/iter_0000002-hf"
    #expect(!TrainingRig.files(folder).contains("adapter_config.json"))
    let config = try QwenConfig(folder: folder)
    let base = PublishedWeightSource(try PublishedFolder(rig.model), config)
    let merged = PublishedWeightSource(try PublishedFolder(folder), config)
    for row in NameMap(config).all {
      let (name, shape) = (row.name, row.shape)
      #expect(try merged.describe(name).shape == shape, "\(name)")
      let isEqual = try Self.bytes(base, name, shape) == Self.bytes(merged, name, shape)
      #expect(isEqual != name.contains("linear_qkv.weight"), "\(name)")
    }
    let fault = try rig.fault(["--train_iters", "1", "--merge_lora", "true"])
    #expect(fault.description.contains("--train_type lora"))
  }

  private static func bytes(
    _ source: any WeightSource, _ name: String, _ shape: [Int]
  ) throws -> [UInt8] {
    let (dtype, _) = try source.describe(name)
    let columns = shape.dropFirst().reduce(1, *)
    var bytes = [UInt8](repeating: 0, count: shape.reduce(1, *) * dtype.size)
    try bytes.withUnsafeMutableBytes {
      try source.read(name, rows: 0..<shape[0], columns: 0..<columns, into: $0)
    }
    return bytes
  }
}
