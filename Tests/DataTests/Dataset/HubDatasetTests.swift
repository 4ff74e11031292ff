import Foundation
import LocalHub
import Testing

@testable import DataPipeline
@testable import Hub
@testable import Support

/// The seed's three data sets: small clones of their layout, as folders and in a hub.
@Suite struct HubDatasets {
  private static let clones = "\(Fixtures.root)/hub"
  private let folder = try? Fixtures.Folder()

  /// A hub with the clones, and a machine with an empty cache.
  private func options(
    _ hub: LocalHub, _ words: String..., with change: (inout HubSettings) -> Void = { _ in }
  ) throws -> DataOptions {
    var options = DataOptions()
    options.sources.train = words
    options.order.shuffle = false
    options.rows.acceptsMedia = true
    let home = try #require(folder).path
    let environment = [
      "HOME": home, "HF_ENDPOINT": hub.address, "MODELSCOPE_DOMAIN": hub.address,
    ]
    var settings = HubSettings(environment: environment)
    settings.pause = { _ in }
    change(&settings)
    options.sources.use(HubClient(settings), environment: environment)
    return options
  }

  private func hub(dropsEvery: Int = 3) throws -> LocalHub {
    var behaviour = LocalHub.Behaviour()
    behaviour.dropsEvery = dropsEvery
    let hub = try LocalHub(behaviour)
    for (name, ids) in [
      (
        "alpaca-gpt4-data-zh",
        ["AI-ModelScope/alpaca-gpt4-data-zh", "llm-wizard/alpaca-gpt4-data-zh"]
      ),
      ("LaTeX_OCR", ["AI-ModelScope/LaTeX_OCR", "linxy/LaTeX_OCR"]),
      ("VideoChatGPT", ["swift/VideoChatGPT", "lmms-lab/VideoChatGPT"]),
    ] {
      let walk = FileManager.default.enumerator(atPath: "\(Self.clones)/\(name)")
      while let path = walk?.nextObject() as? String {
        let file = "\(Self.clones)/\(name)/\(path)"
        guard Folder.kind(file) == .file else { continue }
        for id in ids { hub.add(path, try AtomicFile.read(file), to: id, kind: "datasets") }
      }
    }
    return hub
  }

  @Test("The Chinese alpaca set is downloaded by its word, and its rows are mended")
  func alpaca() throws {
    let hub = try hub()
    let rows = try DatasetPlan.rows(
      options: try options(hub, "AI-ModelScope/alpaca-gpt4-data-zh#2")
    ).train
    #expect(rows.count == 2)
    #expect(rows[0].messages.map(\.content) == ["翻译\n你好", "hello"])
    #expect(rows[1].messages[1].content == "今天天气很好，\n我们去散步。")
  }

  @Test(
    "LaTeX_OCR:human_handwrite joins its splits; its pictures come out of the parquet files",
    arguments: ["AI-ModelScope/LaTeX_OCR:human_handwrite#5", "hf::linxy/LaTeX_OCR:human_handwrite"])
  func latex(word: String) throws {
    let hub = try hub()
    let rows = try DatasetPlan.rows(options: try options(hub, word)).train
    #expect(
      rows.map { $0.messages[1].content } == [
        #"\frac{train}{0}"#, #"\frac{train}{1}"#, #"\frac{train}{2}"#, #"\frac{validation}{0}"#,
        #"\frac{test}{0}"#,
      ])
    #expect(rows[0].messages[0].content == "Using LaTeX to perform OCR on the image.")
    let picture = try AtomicFile.read("\(Fixtures.root)/data/media/thumb_40x27.jpg")
    let source = try #require(MediaSource(rows[0].images[0]))
    let reader = MediaReader(settings: MediaFixtures.settings { _ in })
    #expect(
      try reader.bytes(MediumName(field: "images[0]", source: source), limit: 1 << 20) == picture)
    // The other subset stayed in the hub.
    #expect(!hub.requests.contains { ($0.query["FilePath"] ?? $0.path).contains("full/") })
  }

  @Test("The default subset of LaTeX_OCR is what its card says")
  func latexDefault() throws {
    let hub = try hub()
    let rows = try DatasetPlan.rows(options: try options(hub, "AI-ModelScope/LaTeX_OCR")).train
    #expect(rows.map { $0.messages[1].content } == ["x_full"])
  }

  @Test("VideoChatGPT unpacks its clips once and leaves out rows whose clip is not there")
  func video() throws {
    let hub = try hub()
    let result = try DatasetPlan.rows(
      options: try options(hub, "swift/VideoChatGPT:Generic#2", "swift/VideoChatGPT:Consistency"))
    #expect(
      result.train.map { $0.messages.map(\.content) } == [
        ["What happens?", "A wheel turns."], ["Which colour?", "Blue."], ["First?", "Yes."],
      ])
    let clip = try AtomicFile.read("\(Fixtures.root)/data/media/clip_5f_10fps.mp4")
    let paths = result.train.compactMap { $0.videos[0].string }
    for path in paths { #expect(try AtomicFile.read(path) == clip) }
    let home = try #require(folder).path
    #expect(paths.allSatisfy { $0.hasPrefix(home + "/.cache/megatron-sft/clips/") })
    #expect(try Folder.names(Folder.parent(paths[0])) == ["v_a.mp4", "v_b.mp4", "v_evil.mp4"])
    #expect(hub.requests.filter { $0.query["FilePath"] == "videos.zip" }.count <= 3)
  }

  @Test("A second run asks no hub; force_redownload fetches what changed")
  func again() throws {
    let hub = try hub(dropsEvery: 0)
    let word = "AI-ModelScope/alpaca-gpt4-data-zh"
    _ = try DatasetPlan.rows(options: try options(hub, word))
    hub.forgetRequests()
    _ = try DatasetPlan.rows(options: try options(hub, word))
    #expect(hub.requests.isEmpty)
    hub.add(
      "train.csv", Array("instruction,input,output\n加法,2+2,4\n".utf8), to: word, kind: "datasets")
    var fresh = try options(hub, word)
    fresh.sources.isFresh = true
    #expect(try DatasetPlan.rows(options: fresh).train.count == 1)
  }

  @Test("A subset that only the hub has is fetched beside those that are here")
  func oneMore() throws {
    let hub = try hub(dropsEvery: 0)
    _ = try DatasetPlan.rows(options: try options(hub, "AI-ModelScope/LaTeX_OCR:human_handwrite"))
    let rows = try DatasetPlan.rows(options: try options(hub, "AI-ModelScope/LaTeX_OCR")).train
    #expect(rows.count == 1)
    let fault = #expect(throws: Fault.self) {
      try DatasetPlan.rows(options: try options(hub, "AI-ModelScope/LaTeX_OCR:small"))
    }
    #expect(fault?.code == .datasetNotFound)
    #expect(fault?.message == "the folder has no subset \"small\"")
  }

  @Test("A local clone is read without a hub, clips from its archive")
  func clones() throws {
    var options = DataOptions()
    options.sources.train = [
      "\(Self.clones)/VideoChatGPT:Temporal", "\(Self.clones)/LaTeX_OCR:human_handwrite#1",
    ]
    options.sources.clipFolder = try #require(folder).path
    options.order.shuffle = false
    options.rows.acceptsMedia = true
    #expect(try DatasetPlan.rows(options: options).train.count == 2)
  }

  @Test("An archive that is damaged or grows without end is refused, and nothing is left of it")
  func archives() throws {
    let home = try #require(folder)
    let good = try AtomicFile.read("\(Self.clones)/VideoChatGPT/videos.zip")
    let path = try home.write("videos.zip", "")
    for change in 0..<3 {
      var bytes = good
      switch change {
      case 0: bytes.removeLast(200)
      case 1: bytes[bytes.count / 3] ^= 0x10
      default: bytes = Array("no archive".utf8)
      }
      try Data(bytes).write(to: URL(fileURLWithPath: path))
      let archive = ClipArchive(path: path, cache: home.path + "/clips")
      let fault = #expect(throws: Fault.self) { try archive.clips() }
      #expect(fault?.code == .badDataFile)
    }
    let left = try Folder.names(home.path + "/clips").filter { !$0.hasSuffix(".lock") }
    #expect(left.isEmpty)
    #expect(ClipArchive.clipName("../../a.mp4") == "a.mp4")
    for name in ["a.txt", "x/.mp4", "__MACOSX/a.mp4", "a.mp4/"] where name != "a.mp4/" {
      #expect(ClipArchive.clipName(name) == nil, "\(name)")
    }
  }
}

@Suite struct DatasetCards {
  @Test("The files of a card are read from lists, texts and brackets, in whatever order")
  func card() {
    let text = """
      ---
      language: [en, zh]
      dataset_info:
      - config_name: other
        features:
        - name: image
          dtype: image
      configs:
        - config_name: "a"
          data_files:
            - split: train
              path:
                - a/x-*.parquet   # two kinds
                - 'a/y/**'
            - split: test
              path: [a/t.csv, "a/u.csv"]
        - data_files: b/*.json
          config_name: b
      - not a key
      ---
      # configs:
      """
    let found = DatasetCard.configurations(text)
    #expect(
      found["a"] == [
        .init(split: "train", patterns: ["a/x-*.parquet", "a/y/**"]),
        .init(split: "test", patterns: ["a/t.csv", "a/u.csv"]),
      ])
    #expect(found["b"] == [.init(split: "train", patterns: ["b/*.json"])])
    #expect(DatasetCard.configurations("no card").isEmpty)
    #expect(DatasetCard.configurations("---\n- - -\n:\n  a:\n b\n---").isEmpty)
  }

  @Test("Patterns stay within a part of a path, but for two stars")
  func patterns() {
    for (path, pattern, fits) in [
      ("a/x-1.parquet", "a/x-*", true), ("a/b/x-1", "a/*", false), ("a/b/c", "a/**", true),
      ("a", "**/a", true), ("x/a", "**/a", true), ("ab", "a?", true), ("a", "a?", false),
      ("aXbXc", "a*b*c", true), ("aXbX", "a*b*c", false), ("a/b", "./a/b", true),
    ] {
      #expect(DatasetCard.matches(path, pattern: pattern) == fits, "\(path) \(pattern)")
    }
  }
}
