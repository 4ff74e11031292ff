import Foundation
import LocalHub
import Parallel
import Testing

@testable import Hub
@testable import Launcher
@testable import Support

/// Programs that take models from a hub and publish into one.
@Suite struct HubPrograms {
  private static let token = "hf_CANARY"

  private func hub(dropsEvery: Int = 0) throws -> LocalHub {
    var behaviour = LocalHub.Behaviour()
    behaviour.token = Self.token
    behaviour.dropsEvery = dropsEvery
    return try LocalHub(behaviour)
  }

  private func launch(_ hub: LocalHub, _ home: String) -> LaunchEnvironment {
    var launch = LaunchEnvironment([
      "HOME": home, "HF_ENDPOINT": hub.address, "MODELSCOPE_DOMAIN": hub.address,
    ])
    launch.mayDownload = true
    return launch
  }

  private func fill(_ hub: LocalHub, _ id: String, from folder: String) throws {
    for name in try Folder.names(folder) {
      hub.add(name, try AtomicFile.read(folder + "/" + name), to: id)
    }
  }

  private func export(
    _ words: [String], _ launch: LaunchEnvironment = LaunchEnvironment([:])
  ) throws -> ExportOptions {
    guard
      case .run(let options) = try ExportOptions.read(
        words + ["--logging_level", "ERROR"], launch: launch)
    else { throw Unexpected(what: "options") }
    return options
  }

  @Test("A model named by its id is downloaded, in programs that may")
  func model() throws {
    let rig = try TrainingRig()
    let hub = try hub()
    try fill(hub, "org/tiny", from: rig.model)
    var launch = launch(hub, rig.folder.path)
    var flags = ModelFlags()
    flags.useHF = true
    let folder = try ModelFolder(
      model: "org/tiny", checkpoint: nil, hub: HubAccess(launch, flags))
    #expect(
      try AtomicFile.read(folder.path + "/model.safetensors")
        == AtomicFile.read(rig.model + "/model.safetensors"))
    launch.mayDownload = false
    hub.forgetRequests()
    #expect(
      try ModelFolder(model: "org/tiny", checkpoint: nil, hub: HubAccess(launch, flags)).path
        == folder.path)
    flags.modelRevision = "v2"
    let fault = #expect(throws: Fault.self) {
      try ModelFolder(model: "org/tiny", checkpoint: nil, hub: HubAccess(launch, flags))
    }
    #expect(fault?.code == .missingFile)
    #expect(fault?.found?.contains("models--org--tiny/snapshots/v2") == true)
    #expect(hub.requests.isEmpty)
  }

  @Test("A model is trained by its id, and its args.json keeps the id and no token")
  func training() throws {
    let rig = try TrainingRig()
    let hub = try hub()
    try fill(hub, "org/tiny", from: rig.model)
    var options = try rig.options([
      "--model", "org/tiny", "--max_epochs", "1", "--hub_token", Self.token, "--use_hf", "true",
    ])
    options.report.launch = launch(hub, rig.folder.path)
    let run = try TrainingBuilder(options: options, world: SelfWorld()).build()
    let saved = try String(contentsOfFile: run.directory + "/args.json", encoding: .utf8)
    #expect(saved.contains(#""model": "org/tiny""#))
    #expect(!saved.contains("CANARY"))
  }

  @Test("A folder is published by megatron-export, and infer restores its settings from the hub")
  func push() throws {
    let rig = try TrainingRig()
    let hub = try hub(dropsEvery: 5)
    try rig.folder.write(
      "model/args.json",
      #"{"dataset": ["org/rows#5"], "split_dataset_ratio": 0.5, "torch_dtype": "float32"}"#)
    let file = try rig.folder.write("token", Self.token + "\n")
    chmod(file, 0o600)
    let launch = launch(hub, rig.folder.path)
    let options = try export(
      [
        "--model", rig.model, "--push_to_hub", "true", "--hub_model_id", "me/tiny", "--use_hf",
        "true", "--hub_token_file", file, "--commit_message", "hello",
      ], launch)
    #expect(try ExportEntry.run(options) == .done)
    let made = try #require(hub.repository("me/tiny"))
    #expect(made.commits == 1)
    for name in try Folder.names(rig.model) {
      #expect(made.files[name] == (try AtomicFile.read(rig.model + "/" + name)), "\(name)")
    }
    let read = try InferOptions.read(
      ["--model", "me/tiny", "--use_hf", "true", "--load_data_args", "true"], launch: launch)
    guard case .run(let infer) = read else { throw Unexpected(what: "text") }
    #expect(infer.data.dataset == ["org/rows#5"] && infer.model.torchDType == .float32)
  }

  @Test("What cannot be published is refused before anything is read")
  func rules() throws {
    for (words, says) in [
      (["--model", "m", "--push_to_hub", "true"], "--hub_model_id"),
      (
        ["--model", "m", "--push_to_hub", "true", "--hub_model_id", "a/b", "--to_mcore", "true"],
        "convert first"
      ),
    ] {
      let fault = #expect(throws: Fault.self) { try export(words) }
      #expect(fault?.description.contains(says) == true, "\(fault?.description ?? "")")
    }
    let options = try export([
      "--adapters", "x", "--push_to_hub", "true", "--hub_model_id", "a/b", "--load_args", "false",
    ])
    #expect(options.export.pushes && options.export.outputDir == nil)
  }

  @Test("The token of one hub is not shown to the other")
  func otherHub() throws {
    var flags = ModelFlags()
    flags.hubToken = Self.token
    let launch = LaunchEnvironment(["HF_TOKEN": "hf_OWN"])
    #expect(
      try HubAccess(launch, flags).settings().tokens == [
        .modelScope: Secret(Self.token), .huggingFace: Secret("hf_OWN"),
      ])
    flags.useHF = true
    #expect(
      try HubAccess(launch, flags).settings().tokens == [.huggingFace: Secret(Self.token)])
    flags.hubToken = "two words"
    let fault = #expect(throws: Fault.self) { try HubAccess(launch, flags).settings() }
    #expect(fault?.description.contains("two words") == false)
  }
}
