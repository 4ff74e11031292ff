import Foundation
import LocalHub
import Support
import Testing

@testable import Hub

@Suite struct HubDownloads {
  @Test(
    "A model arrives whole from a hub that breaks off every third connection",
    arguments: HubService.allCases)
  func broken(service: HubService) throws {
    let rig = try HubRig(dropsEvery: 3)
    rig.fill("org/tiny.model")
    let folder = try #require(
      try rig.client().model("org/tiny.model", revision: nil, in: service, .model))
    for (path, bytes) in HubRig.model {
      #expect(try AtomicFile.read("\(folder)/\(path)") == bytes, "\(path)")
    }
    #expect(Folder.kind(folder + "/pytorch_model.bin") == .nothing)
    #expect(!HubClient.isUnfinished(folder))
    if service == .huggingFace {
      #expect(rig.hub.requests.contains { $0.headers["range"] != nil })
    }
    rig.hub.forgetRequests()
    #expect(try rig.client().model("org/tiny.model", revision: nil, in: service, .model) == folder)
    #expect(rig.hub.requests.isEmpty)
  }

  @Test("The cache of Hugging Face gets contents, links and the commit of the branch")
  func layout() throws {
    let rig = try HubRig()
    rig.fill("org/tiny")
    let folder = try #require(
      try rig.client().model("org/tiny", revision: nil, in: .huggingFace, .model))
    let root = "\(rig.folder)/.cache/huggingface/hub/models--org--tiny"
    let head = try #require(rig.hub.repository("org/tiny")?.head)
    #expect(folder == "\(root)/snapshots/\(head)")
    #expect(try AtomicFile.read(root + "/refs/main") == Array(head.utf8))
    let path = folder + "/tokenizer.json"
    #expect(Folder.kind(path, follow: false) == .link)
    let digest = try Digest.of(file: path)
    #expect(Folder.resolved(path) == Folder.resolved("\(root)/blobs/\(digest)"))
  }

  @Test("The cache of ModelScope is one folder, dots of the name written as underscores")
  func flatLayout() throws {
    let rig = try HubRig()
    rig.fill("org/tiny-0.6B")
    let folder = try rig.client().model("org/tiny-0.6B", revision: nil, in: .modelScope, .model)
    #expect(folder == "\(rig.folder)/.cache/modelscope/hub/models/org/tiny-0___6B")
    let names = try Folder.names(try #require(folder)).filter { !$0.hasPrefix(".") }
    #expect(names == HubRig.model.keys.sorted())
  }

  @Test("Half of a file that an earlier process left is not fetched again")
  func resumed() throws {
    let rig = try HubRig()
    rig.fill("org/tiny")
    let bytes = try #require(HubRig.model["model-00001-of-00002.safetensors"])
    let digest = Digest(.sha256)
    digest.update(bytes)
    let blobs = "\(rig.folder)/.cache/huggingface/hub/models--org--tiny/blobs"
    try Folder.make(blobs)
    try AtomicFile.write(
      Array(bytes.prefix(6000)), to: "\(blobs)/\(digest.hexadecimal()).incomplete")
    let folder = try #require(
      try rig.client().model("org/tiny", revision: nil, in: .huggingFace, .model))
    #expect(try AtomicFile.read(folder + "/model-00001-of-00002.safetensors") == bytes)
    #expect(rig.hub.requests.contains { $0.headers["range"] == "bytes=6000-" })
  }

  @Test("A content that differs from its digest is fetched again, and never gets its name")
  func damaged() throws {
    let rig = try HubRig()
    rig.fill("org/tiny")
    let digest = Digest(.sha256)
    digest.update(try #require(HubRig.model["tokenizer.json"]))
    rig.hub.damage(digest.hexadecimal(), times: 2)
    #expect(try rig.client().model("org/tiny", revision: nil, in: .huggingFace, .model) != nil)

    let other = try HubRig()
    other.fill("org/tiny")
    other.hub.damage("tokenizer.json", times: 100)
    let fault = other.fault {
      _ = try other.client().model("org/tiny", revision: nil, in: .modelScope, .model)
    }
    #expect(fault?.code == .badTransfer)
    #expect(fault?.expected == digest.hexadecimal())
    let folder = "\(other.folder)/.cache/modelscope/hub/models/org/tiny"
    #expect(Folder.kind(folder + "/tokenizer.json") == .nothing)
    #expect(HubClient.isUnfinished(folder))
  }

  @Test("A download that was cut goes on where it stopped")
  func unfinished() throws {
    let rig = try HubRig()
    rig.fill("org/tiny")
    let folder = try #require(
      try rig.client().model("org/tiny", revision: nil, in: .modelScope, .model))
    try AtomicFile.write("", to: folder + "/.unfinished")
    try Folder.remove(folder + "/tokenizer.json")
    rig.hub.forgetRequests()
    _ = try rig.client().model("org/tiny", revision: nil, in: .modelScope, .model)
    #expect(rig.hub.requests.compactMap { $0.query["FilePath"] } == ["tokenizer.json"])
    #expect(!HubClient.isUnfinished(folder))
  }

  @Test("Only the description is fetched where weights come from elsewhere, and they follow later")
  func description() throws {
    let rig = try HubRig()
    rig.fill("org/tiny")
    let first = try #require(
      try rig.client().model("org/tiny", revision: nil, in: .huggingFace, .description))
    #expect(Folder.kind(first + "/model-00001-of-00002.safetensors") == .nothing)
    let second = try rig.client().model("org/tiny", revision: nil, in: .huggingFace, .model)
    #expect(second == first)
    #expect(Folder.kind(first + "/model-00001-of-00002.safetensors") == .file)
  }

  @Test("Of several processes one downloads, the others wait and find the files")
  func together() throws {
    let rig = try HubRig()
    rig.fill("org/tiny")
    let settings = rig.settings()
    let lines = rig.lines
    let group = DispatchGroup()
    let found = HubRig.Lines()
    for _ in 0..<4 {
      DispatchQueue.global().async(group: group) {
        let client = HubClient(settings) { lines.add($0) }
        let folder = try? client.model("org/tiny", revision: nil, in: .huggingFace, .model)
        found.add((folder ?? nil) ?? "nothing")
      }
    }
    group.wait()
    #expect(Set(found.text.split(separator: "\n")).count == 1)
    let asked = rig.hub.requests.filter {
      $0.path.hasSuffix("/resolve/\(Self.head(rig))/config.json")
    }
    #expect(asked.count == 1)
  }

  private static func head(_ rig: HubRig) -> String {
    rig.hub.repository("org/tiny")?.head ?? ""
  }

  @Test(
    "The token is shown to its hub alone, not to the host that it redirects to",
    arguments: HubService.allCases)
  func tokenStays(service: HubService) throws {
    let rig = try HubRig()
    rig.fill("org/tiny")
    _ = try rig.client([
      "HF_TOKEN": "hf_CANARY", "MODELSCOPE_API_TOKEN": "ms_CANARY",
    ]).model("org/tiny", revision: nil, in: service, .model)
    let requests = rig.hub.requests
    #expect(requests.contains { $0.host == "localhost" } == (service == .huggingFace))
    #expect(requests.allSatisfy { $0.showsToken == ($0.host == "127.0.0.1") })
    let own = "Bearer " + (service == .huggingFace ? "hf_CANARY" : "ms_CANARY")
    #expect(requests.allSatisfy { !$0.showsToken || $0.headers["authorization"] == own })
    #expect(!rig.lines.text.contains("CANARY"))
  }

  @Test("What a hub does not have, or does not give, is told with the way out")
  func refusals() throws {
    let rig = try HubRig(token: "hf_GOOD")
    let missing = rig.fault {
      _ = try rig.client().model("org/none", revision: nil, in: .huggingFace, .model)
    }
    #expect(missing?.code == .notInHub)
    rig.fill("org/tiny")
    let revision = rig.fault {
      _ = try rig.client().model("org/tiny", revision: "v9", in: .huggingFace, .model)
    }
    #expect(revision?.code == .notInHub)
    let named = rig.fault {
      _ = try rig.client().model("org/tiny", revision: "v9", in: .modelScope, .model)
    }
    #expect(named?.code == .notInHub)
    rig.hub.add("README.md", [1], to: "org/text")
    let empty = rig.fault {
      _ = try rig.client().model("org/text", revision: nil, in: .huggingFace, .model)
    }
    #expect(empty?.code == .notInHub && empty?.found == "README.md")
  }

  @Test("Without a network the places that were tried are named, and nothing hangs")
  func offline() throws {
    let rig = try HubRig()
    let none = rig.fault {
      _ = try rig.client(["HF_ENDPOINT": "http://127.0.0.1:1"])
        .model("org/tiny", revision: nil, in: .huggingFace, .model)
    }
    #expect(none?.code == .hubUnreachable)
    #expect(none?.expected?.contains("models--org--tiny") == true)
    let forbidden = rig.fault {
      _ = try rig.client(["HF_HUB_OFFLINE": "1"])
        .model("org/tiny", revision: nil, in: .huggingFace, .model)
    }
    #expect(forbidden?.code == .hubUnreachable)
    #expect(rig.hub.requests.isEmpty)
  }

  @Test("A path of the hub that leads out of the folder is refused")
  func paths() throws {
    let rig = try HubRig()
    rig.fill("org/tiny")
    rig.hub.add("../../evil.json", [1], to: "org/tiny")
    for service in HubService.allCases {
      let fault = rig.fault {
        _ = try rig.client().model("org/tiny", revision: nil, in: service, .model)
      }
      #expect(fault?.code == .badHubAnswer)
    }
    for path in ["/a", "a//b", "a/../b", "..", "", "a\u{0}b", "a\\b"] {
      #expect(RemoteFile(path: path, size: 1) == nil)
    }
    #expect(RemoteFile(path: "a/b.json", size: 1) != nil)
    #expect(RemoteFile(path: "a", size: -1) == nil)
  }

  @Test("A copy of the other hub serves as well")
  func otherCache() throws {
    let rig = try HubRig()
    let folder = try rig.write(".cache/modelscope/hub/models/org/tiny", HubRig.model)
    #expect(try rig.client().model("org/tiny", revision: nil, in: .huggingFace, .model) == folder)
    #expect(rig.hub.requests.isEmpty)
  }
}

@Suite struct HubNames {
  @Test("An id is owner and name; what could be a path or an option is none")
  func ids() {
    for id in ["a/b", "Qwen/Qwen3-VL-30B-A3B-Instruct", "x_y/z.1"] {
      #expect(RepositoryName(id, .model, in: .modelScope) != nil)
    }
    for id in [
      "a", "a/b/c", "../b", "a/..", "/a", "a/", ".a/b", "a/b c", "a/b?x", "a/ü", "a/b.git",
    ] {
      #expect(RepositoryName(id, .model, in: .modelScope) == nil, "\(id)")
    }
  }

  @Test("A token goes to hosts of the hub's own domain over https, never in the open")
  func sites() throws {
    func address(_ text: String) throws -> WebAddress { try #require(WebAddress(text)) }
    let hub = try address("https://www.modelscope.cn")
    #expect(try address("https://lfs.modelscope.cn/x").isInSite(of: hub))
    #expect(try !address("https://modelscope.cn.evil.org/x").isInSite(of: hub))
    #expect(try !address("https://evilmodelscope.cn/x").isInSite(of: hub))
    #expect(try !address("http://lfs.modelscope.cn/x").isInSite(of: hub))
    #expect(try !address("https://127.0.0.2").isInSite(of: address("https://127.0.0.1")))
    #expect(try address("http://hub.site").isOpen)
    #expect(try !address("http://localhost:80").isOpen)
    #expect(WebAddress("https://user@host/") == nil)
    #expect(WebAddress("file:///etc/passwd") == nil)
    #expect(try address("https://a/b/c").following("../d")?.text == "https://a/d")
  }

  @Test("Endpoints, caches and tokens are read as the hubs' own clients read them")
  func environment() {
    let settings = HubSettings(environment: [
      "HF_ENDPOINT": "https://mirror.site/", "MODELSCOPE_DOMAIN": "hub.site", "HF_HOME": "/h",
      "MODELSCOPE_CACHE": "/m", "HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "old",
    ])
    #expect(settings.endpoint(.huggingFace) == "https://mirror.site")
    #expect(settings.endpoint(.modelScope) == "https://hub.site")
    #expect(settings.tokens[.huggingFace] == Secret("old"))
    #expect(settings.tokens[.modelScope] == nil)
    #expect(
      HubCaches(environment: ["HUGGINGFACE_HUB_CACHE": "/c"]).huggingFace == "/c"
        && settings.caches.huggingFace == "/h/hub" && settings.caches.modelScope == "/m")
  }
}
