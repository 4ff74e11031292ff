import Foundation
import Testing

@testable import DataPipeline
@testable import Hub
@testable import Support

@Suite struct DatasetWords {
  private let folder = try? Fixtures.Folder()
  private let row = #"{"query": "q", "response": "a"}"#

  @Test("A word is taken apart into hub, name, subsets and count")
  func parse() throws {
    let word = try DatasetWord(parsing: "HF::org/name: small /large#500")
    #expect(word.hub == .huggingFace && word.name == "org/name")
    #expect(word.subsets == ["small", "large"] && word.count == 500)
    #expect(try DatasetWord(parsing: "xx::org/name").hub == nil)
  }

  @Test("A name that exists is taken whole, whatever marks it holds")
  func whole() throws {
    let folder = try #require(folder)
    let path = try folder.write("a#b:c.jsonl", row)
    #expect(try DatasetWord(parsing: path).name == path)
    let counted = try DatasetWord(parsing: path + "#3")
    #expect(counted.name == path && counted.count == 3)
  }

  @Test("A count that is no positive whole number is refused", arguments: ["#0", "#-2", "#x", "#"])
  func badCount(end: String) {
    let fault = #expect(throws: Fault.self) { try DatasetWord(parsing: "name\(end)") }
    #expect(fault?.code == .badDatasetWord)
  }

  @Test("A file that is not there is named")
  func missing() {
    let fault = #expect(throws: Fault.self) {
      try DatasetPlan.rows(options: Fixtures.options("/nowhere/rows.jsonl"))
    }
    #expect(fault?.code == .datasetNotFound)
    #expect(fault?.place == .file("/nowhere/rows.jsonl"))
  }

  @Test("An id that is not on this machine is named with the folders that were tried")
  func hub() throws {
    var options = Fixtures.options("some-org/some-set")
    let cache = try #require(folder).path
    options.sources.caches = HubCaches(environment: ["HOME": cache])
    let fault = #expect(throws: Fault.self) { try DatasetPlan.rows(options: options) }
    #expect(fault?.message.contains("some-org/some-set") == true)
    #expect(
      fault?.found?.contains("\(cache)/.cache/modelscope/hub/datasets/some-org/some-set") == true)
    #expect(
      fault?.found?.contains("\(cache)/.cache/huggingface/hub/datasets--some-org--some-set") == true
    )
  }

  @Test("A downloaded snapshot of an id is found in the cache")
  func snapshot() throws {
    let folder = try #require(folder)
    let base = ".cache/huggingface/hub/datasets--org--set"
    _ = try folder.write("\(base)/refs/main", "abc")
    _ = try folder.write("\(base)/snapshots/abc/train.jsonl", row)
    var options = Fixtures.options("hf::org/set")
    options.sources.caches = HubCaches(environment: ["HOME": folder.path])
    #expect(try DatasetPlan.rows(options: options).train.count == 1)
  }

  @Test("A folder gives its training split, a subset the files of that name")
  func repository() throws {
    let folder = try #require(folder)
    for name in ["set/train.jsonl", "set/test.jsonl", "set/small/data.jsonl", "set/README.txt"] {
      _ = try folder.write(name, row)
    }
    let set = "\(folder.path)/set"
    let all = try DatasetPlan.rows(options: Fixtures.options(set)).train
    #expect(all.map(\.source.file) == ["\(set)/train.jsonl"])
    let small = try DatasetPlan.rows(options: Fixtures.options("\(set):small")).train
    #expect(small.map(\.source.file) == ["\(set)/small/data.jsonl"])
    let fault = #expect(throws: Fault.self) {
      try DatasetPlan.rows(options: Fixtures.options("\(set):other"))
    }
    #expect(fault?.message == "the folder has no subset \"other\"")
  }

  @Test("A clone is known by the last part of its path: the Chinese alpaca set")
  func alpaca() throws {
    let folder = try #require(folder)
    _ = try folder.write(
      "alpaca-gpt4-data-zh/train.csv", "instruction,input,output\n翻译,输入：你好,hi\n")
    let rows = try DatasetPlan.rows(
      options: Fixtures.options("\(folder.path)/alpaca-gpt4-data-zh")
    ).train
    #expect(rows[0].messages.map(\.content) == ["翻译\n你好", "hi"])
  }

  @Test("LaTeX_OCR joins its three splits and asks its fixed question")
  func latex() throws {
    let folder = try #require(folder)
    for (i, split) in ["validation", "train", "test"].enumerated() {
      _ = try folder.write(
        "LaTeX_OCR/human_handwrite/\(split).jsonl",
        "{\"image\": \"\(i).png\", \"text\": \"x_\(i)\"}")
    }
    let rows = try DatasetPlan.rows(
      options: Fixtures.options("\(folder.path)/LaTeX_OCR:human_handwrite#2")
    ).train
    #expect(rows.map { $0.messages[1].content } == ["x_1", "x_0"])
    #expect(rows[0].messages[0].content == "Using LaTeX to perform OCR on the image.")
    #expect(rows[0].images.map { $0["path"]?.string } == ["1.png"])
  }

  @Test("VideoChatGPT takes rows whose clip is unpacked and their first question")
  func video() throws {
    let folder = try #require(folder)
    let set = "\(folder.path)/VideoChatGPT"
    _ = try folder.write(
      "VideoChatGPT/Temporal/test.jsonl",
      #"{"video_name": "v1", "query": "None", "question_1": "what?", "answer": "a"}"# + "\n"
        + #"{"video_name": "v2", "query": "q", "question_1": "", "answer": "a"}"#)
    let options = Fixtures.options("\(set):Temporal")
    let fault = #expect(throws: Fault.self) { try DatasetPlan.rows(options: options) }
    #expect(fault?.fix?.contains("videos.zip") == true)
    _ = try folder.write("VideoChatGPT/Test_Videos/v1.mp4", "")
    let result = try DatasetPlan.rows(options: options)
    #expect(result.train.map { $0.messages[0].content } == ["what?"])
    #expect(result.train[0].videos == [.string("\(set)/Test_Videos/v1.mp4")])
    #expect(result.report.files[0].dropped == 1)
    let unnamed = #expect(throws: Fault.self) {
      try DatasetPlan.rows(options: Fixtures.options(set))
    }
    #expect(unnamed?.expected?.contains("Consistency") == true)
  }

  @Test("A registry file gives names, paths beside it and columns")
  func customInfo() throws {
    let folder = try #require(folder)
    _ = try folder.write("mine.jsonl", #"{"ask": "q", "say": "a"}"#)
    var options = Fixtures.options("my-set#1")
    options.sources.customInfo = [
      try folder.write(
        "info.json",
        #"[{"dataset_path": "mine.jsonl", "dataset_name": "my-set", "columns": {"ask": "query", "say": "response"}}]"#
      )
    ]
    #expect(try DatasetPlan.rows(options: options).train[0].messages.map(\.content) == ["q", "a"])
    options.sources.customInfo = [try folder.write("bad.json", #"[{"dataset_pat": "x"}]"#)]
    let fault = #expect(throws: Fault.self) { try DatasetPlan.rows(options: options) }
    #expect(fault?.code == .badDatasetInfo && fault?.message.contains("dataset_pat") == true)
  }
}
