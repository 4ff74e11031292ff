import Foundation
import Model
import Parallel
import Support
import Tensor
import Testing

@testable import Launcher

/// Training of models with a vision tower on the rows of the recipes.
@Suite(.serialized) struct VisionTrainingTests {
  private static let recipes =
    URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path + "/recipes"
  /// Small pictures; paths of the rows begin beside them.
  private static let media = [
    "ROOT_IMAGE_DIR": recipes + "/tiny", "IMAGE_MAX_TOKEN_NUM": "16", "VIDEO_MAX_TOKEN_NUM": "8",
    "FPS_MAX_FRAMES": "4",
  ]

  /// Names of the weights that two steps change.
  private func changed(_ words: [String]) throws -> (names: Set<String>, all: Set<String>) {
    let rig = try TrainingRig(.vl)
    let options = try rig.options(
      [
        "--dataset", Self.recipes + "/tiny/pictures.jsonl", Self.recipes + "/tiny/video.jsonl",
        "--max_length", "128", "--train_iters", "3", "--lr", "1e-2", "--split_dataset_ratio", "0",
        "--torch_dtype", "float32",
      ] + words, environment: Self.media)
    let run = try TrainingBuilder(options: options, world: SelfWorld()).build()
    let before = Dictionary(
      uniqueKeysWithValues: run.model.parameters.map { ($0.name, $0.tensor.values) })
    _ = try Trainer(run, signals: { [] }).train()
    let names = run.model.parameters.filter { $0.tensor.values != before[$0.name] }.map(\.name)
    return (Set(names), Set(run.model.parameters.map(\.name)))
  }

  private static func isAligner(_ name: String) -> Bool { ModelPart(name) == .aligner }

  @Test("by default the tower and its mergers stay as they are") func frozen() throws {
    let (names, all) = try changed([])
    #expect(names == all.filter { ModelPart($0) == .text })
  }

  @Test("freeze_aligner false trains the mergers of a frozen tower") func aligner() throws {
    let (names, all) = try changed(["--freeze_aligner", "false", "--freeze_llm", "true"])
    #expect(names == all.filter(Self.isAligner))
  }

  @Test("freeze_vit false trains the tower without its mergers, with a rate of its own")
  func vision() throws {
    let words = ["--freeze_vit", "false", "--freeze_llm", "true"]
    let (names, all) = try changed(words)
    #expect(names == all.filter { ModelPart($0) == .vision })
    #expect(try changed(words + ["--vit_lr", "0", "--weight_decay", "0"]).names.isEmpty)
  }

  @Test(
    "all-linear adapts the parts that are not frozen",
    arguments: [
      ([String](), [ModelPart.text]),
      (["--freeze_llm", "true", "--freeze_vit", "false"], [.vision]),
      (["--freeze_llm", "true", "--freeze_aligner", "false"], [.aligner]),
      (["--freeze_vit", "false", "--freeze_aligner", "false"], [.text, .vision, .aligner]),
    ])
  func adapters(words: [String], parts: [ModelPart]) throws {
    let (names, all) = try changed(["--train_type", "lora", "--lora_rank", "2"] + words)
    #expect(names == all.filter { $0.contains(".lora_") })
    #expect(Set(names.map { ModelPart($0) }) == Set(parts))
  }

  @Test("rates of parts are refused for a text model") func textModel() throws {
    let fault = try TrainingRig(.dense).fault(["--vit_lr", "1e-5", "--train_iters", "1"])
    #expect(fault.code == .optionsDisagree && fault.message.contains("no vision tower"))
  }

  @Test(
    "the recipe of the multimodal mixture trains, saves and goes back without a changed bit",
    .enabled(if: EndToEnd.hasRanks, "the programs or mpirun were not found"))
  func recipe() throws {
    let job = try TinyJob(.vlMoE)
    let base = job.folder.path
    func export(_ words: [String]) throws {
      let done = try EndToEnd.run("megatron-export", words, in: job.folder)
      #expect(done.status == 0, "\(done.text)")
    }
    try export(["--model", job.model, "--to_mcore", "true", "--output_dir", base + "/mcore"])
    let done = try EndToEnd.script(
      Self.recipes + "/tiny/sft-vl-moe-tp2-ep2.sh",
      [
        job.model, base + "/mcore", base + "/run", "--train_iters", "3", "--add_version", "false",
        "--log_interval", "1",
      ],
      in: job.folder)
    #expect(done.status == 0, "\(done.text)")
    #expect(try job.records().losses.count == 3)
    try export([
      "--mcore_model", base + "/run", "--model", job.model, "--to_hf", "true", "--output_dir",
      base + "/hf",
    ])
    try export(["--model", base + "/hf", "--to_mcore", "true", "--output_dir", base + "/back"])
    let trained = try WeightComparison(base + "/run")
    #expect(try WeightComparison(base + "/back").difference(from: trained) == nil)
    #expect(try WeightComparison(base + "/mcore").difference(from: trained) != nil)
  }
}
