import Foundation
import Support
import Testing

@testable import Launcher

@Suite("args.json")
struct SavedArgumentsTests {
  @Test("every option and the derived fields are written, secrets as null, paths absolute")
  func writing() throws {
    let options = try train([
      "--hub_token", "hf_CANARY", "--save", "runs", "--torch_dtype", "bfloat16", "--lr", "1e-5",
      "--system", "你好",
    ])
    var derived = JSONObject()
    derived["model_dir"] = .string("/models/m")
    derived["rank"] = JSONValue(0)
    let json = options.argumentsJSON(adding: derived)
    let text = json.write(.indented)
    #expect(!text.contains("CANARY") && text.contains("你好"))
    #expect(text.hasPrefix("{\n  \""))
    #expect(json["hub_token"] == .null && json["torch_dtype"]?.string == "bfloat16")
    #expect(json["save"]?.string?.hasPrefix("/") == true && json["model"]?.string == "m")
    #expect(json["lr"]?.double == 1e-5 && json["eval_interval"]?.int == 500)
    #expect(json["model_dir"]?.string == "/models/m" && json["world_size"]?.int == 1)
    for spec in TrainingOptions.megatronTable.specs
    where !ConfigPrinter.metaOptions.contains(spec.name) {
      #expect(json[spec.name] != nil, "\(spec.name)")
    }
  }

  @Test("what was written is read back to the same options")
  func roundTrip() throws {
    let folder = try TemporaryFolder()
    let words = [
      "--lr", "3e-4", "--packing", "--dataset", "a#5", "b:c", "--columns", #"{"x": "y"}"#,
      "--global_batch_size", "8", "--truncation_strategy", "left",
    ]
    let first = try train(words)
    let file = try folder.write("again.json", first.argumentsJSON().write(.indented))
    // The derived fields are no options; a reader of the file must leave them out.
    var object = JSONObject(
      try JSONValue.parse(try String(contentsOfFile: file, encoding: .utf8)).object?.members ?? [])
    object["rank"] = nil
    object["world_size"] = nil
    let plain = try folder.write("plain.json", JSONValue.object(object).write())
    let second = try train([plain], base: [])
    #expect(second.argumentsJSON() == first.argumentsJSON())
  }

  @Test("training takes the model from the checkpoint's args.json, and nothing else")
  func trainingReload() throws {
    let folder = try TemporaryFolder()
    try folder.write(
      "args.json", #"{"model": "/m/saved", "system": "saved", "seed": 9, "unknown": [1]}"#)
    let base = ["--dataset", "d", "--max_epochs", "1", "--load", folder.path]
    let options = try train([], base: base)
    #expect(options.model.model == "/m/saved" && options.template.system == nil)
    #expect(options.schedule.seed == 42)
    #expect(options.report.parsed.origin("model") == .savedArguments(folder.path + "/args.json"))
    #expect(try train(["--model", "mine"], base: base).model.model == "mine")
  }

  @Test("load_args in training forces some keys and fills others where nothing was said")
  func trainingLoadArgs() throws {
    let folder = try TemporaryFolder()
    try folder.write(
      "args.json",
      #"{"model": "/m", "train_type": "full", "system": "saved", "truncation_strategy": "left", "torch_dtype": "float16", "seed": 9, "template": null}"#
    )
    let base = [
      "--dataset", "d", "--max_epochs", "1", "--load", folder.path, "--load_args", "true",
    ]
    let options = try train(["--system", "mine"], base: base)
    #expect(options.template.system == "mine" && options.data.truncationStrategy == .left)
    #expect(options.model.torchDType == .float16 && options.schedule.seed == 42)
  }

  @Test("inference fills settings, and load_data_args overwrites the data options")
  func inference() throws {
    let folder = try TemporaryFolder()
    try folder.write(
      "args.json",
      #"{"model": "/elsewhere", "dataset": ["a#5", "b"], "split_dataset_ratio": 0.1, "data_seed": 7, "system": "saved", "val_dataset": [], "interleave_prob": null}"#
    )
    func read(_ words: [String]) throws -> InferOptions {
      guard
        case .run(let options) = try InferOptions.read(
          ["--model", folder.path] + words, launch: LaunchEnvironment([:]))
      else { throw Unexpected(what: "text") }
      return options
    }
    let plain = try read([])
    #expect(plain.template.system == "saved" && plain.data.dataset.isEmpty && plain.isInteractive)
    #expect(plain.generation.stream == true && plain.model.model == folder.path)
    let restored = try read(["--load_data_args", "true", "--data_seed", "1"])
    #expect(restored.data.dataset == ["a#5", "b"] && restored.data.dataSeed == 7)
    #expect(restored.data.splitDatasetRatio == 0.1 && restored.generation.stream == false)
    #expect(try read(["--load_args", "false"]).template.system == nil)
  }

  @Test("a broken args.json is a fault that names the file")
  func broken() throws {
    let folder = try TemporaryFolder()
    try folder.write("args.json", "{\"model\": ")
    let fault = try trainFault(
      [], base: ["--dataset", "d", "--max_epochs", "1", "--load", folder.path])
    #expect(fault.description.contains("args.json:1"))
    try folder.write("args.json", #"{"model": {}}"#)
    let second = try trainFault(
      [], base: ["--dataset", "d", "--max_epochs", "1", "--load", folder.path])
    #expect(second.description.contains("\"model\""))
  }
}
