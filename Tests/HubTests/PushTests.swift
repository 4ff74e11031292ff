import Foundation
import LocalHub
import Support
import Testing

@testable import Hub

@Suite struct HubPushes {
  private func push(
    _ rig: HubRig, _ service: HubService, token: String? = "hf_CANARY", isPrivate: Bool = false,
    id: String = "me/result"
  ) throws -> FolderPush {
    var settings = rig.settings()
    settings.attempts = 8
    if let secret = token.flatMap({ Secret($0) }) { settings.use(secret, for: service) }
    let lines = rig.lines
    return try FolderPush(
      settings, id: id, service: service, isPrivate: isPrivate, message: "first",
      log: { lines.add($0) })
  }

  @Test(
    "A folder is published in one commit to a hub that breaks off every third connection",
    arguments: HubService.allCases)
  func broken(service: HubService) throws {
    let rig = try HubRig(dropsEvery: 3, token: "hf_CANARY")
    var files = HubRig.model
    files["args.json"] = Array("{}".utf8)
    let folder = try rig.write("model", files)
    _ = try rig.write(
      "model",
      [
        "trainer_state.json": [1], "iter_0000003/x.distcp": [2], ".hidden": [3],
      ])
    try push(rig, service).run(folder)
    let made = try #require(rig.hub.repository("me/result"))
    #expect(made.commits == 1)
    for (path, bytes) in files { #expect(made.files[path] == bytes, "\(path)") }
    let more = Set(made.files.keys).subtracting(files.keys)
    #expect(more == (service == .modelScope ? ["configuration.json"] : [".gitattributes"]))
    #expect(made.large.contains("model-00001-of-00002.safetensors"))
    let requests = rig.hub.requests
    #expect(requests.contains { $0.method == "PUT" })
    #expect(requests.filter { $0.host == "localhost" }.allSatisfy { !$0.showsToken })
    #expect(!rig.lines.text.contains("CANARY"))
  }

  @Test("Large files that a hub asks for in parts are sent in parts")
  func parts() throws {
    let rig = try HubRig(token: "hf_CANARY")
    try push(rig, .huggingFace).run(try rig.write("model", HubRig.model))
    let sizes = rig.hub.requests.filter { $0.method == "PUT" }.map(\.body.count)
    #expect(sizes.filter { $0 == 4000 }.count == 2 && sizes.contains(1500))
  }

  @Test("Nothing is sent when the hub has everything", arguments: HubService.allCases)
  func again(service: HubService) throws {
    let rig = try HubRig(token: "hf_CANARY")
    let folder = try rig.write("model", HubRig.model)
    try push(rig, service).run(folder)
    rig.hub.forgetRequests()
    try push(rig, service).run(folder)
    #expect(!rig.hub.requests.contains { $0.method == "PUT" || $0.path.contains("/commit/") })
    #expect(rig.hub.repository("me/result")?.commits == 1)
    try AtomicFile.write("{}", to: folder + "/config.json")
    try push(rig, service).run(folder)
    #expect(rig.hub.repository("me/result")?.files["config.json"] == Array("{}".utf8))
    #expect(rig.hub.repository("me/result")?.commits == 2)
  }

  @Test("A commit whose answer is lost is not made twice", arguments: HubService.allCases)
  func lostAnswer(service: HubService) throws {
    let rig = try HubRig(token: "hf_CANARY")
    rig.hub.loseNextCommit()
    try push(rig, service).run(try rig.write("model", HubRig.model))
    #expect(rig.hub.repository("me/result")?.commits == 1)
    #expect(rig.hub.requests.filter { $0.path.contains("/commit/") }.count == 1)
  }

  @Test("A wrong token, none, or one that would travel in the open is refused and not shown")
  func tokens() throws {
    let rig = try HubRig(token: "hf_GOOD")
    let folder = try rig.write("model", HubRig.model)
    for service in HubService.allCases {
      let wrong = rig.fault { try push(rig, service).run(folder) }
      #expect(wrong?.code == .hubDenied)
      #expect(wrong?.description.contains("CANARY") == false)
    }
    rig.hub.forgetRequests()
    let none = rig.fault { try push(rig, .huggingFace, token: nil).run(folder) }
    #expect(none?.code == .hubDenied && none?.fix?.contains("HF_TOKEN") == true)
    var open = rig.settings(["HF_ENDPOINT": "http://hub.example"])
    open.use(try #require(Secret("hf_CANARY")), for: .huggingFace)
    let fault = rig.fault {
      try FolderPush(
        open, id: "a/b", service: .huggingFace, isPrivate: false, message: "m", log: { _ in }
      ).run(folder)
    }
    #expect(fault?.message.contains("in the open") == true)
    #expect(rig.hub.requests.isEmpty)
  }

  @Test("A folder that holds no model, or not all of one, is not published")
  func folders() throws {
    let rig = try HubRig()
    var files = HubRig.model
    files["model-00002-of-00002.safetensors"] = nil
    let missing = rig.fault {
      try push(rig, .huggingFace).run(try rig.write("half", files))
    }
    #expect(missing?.message == "the weights model-00002-of-00002.safetensors are missing")
    let run = rig.fault {
      try push(rig, .modelScope).run(try rig.write("run", ["args.json": [1], "iter_1/x": [1]]))
    }
    #expect(run?.code == .badPush && run?.fix?.contains("--to_hf") == true)
    let name = rig.fault { _ = try push(rig, .modelScope, id: "no slash") }
    #expect(name?.code == .badPush)
    #expect(rig.hub.requests.isEmpty)
  }

  @Test("A private publication makes a private repository, and refuses a public one")
  func privacy() throws {
    for service in HubService.allCases {
      let rig = try HubRig(token: "hf_CANARY")
      let folder = try rig.write(
        "adapter", ["adapter_config.json": [1], "adapter_model.safetensors": [2]])
      try push(rig, service, isPrivate: true).run(folder)
      #expect(rig.hub.repository("me/result")?.isPrivate == true)
      rig.hub.add("README.md", [1], to: "me/public")
      let fault = rig.fault {
        try push(rig, service, isPrivate: true, id: "me/public").run(folder)
      }
      #expect(fault?.code == .badPush)
      #expect(rig.hub.repository("me/public")?.commits == 0)
    }
  }
}
