import Foundation
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct ReadingRows {
  private let folder = try? Fixtures.Folder()

  private func rows(
    _ name: String, _ text: String, _ change: (inout DataOptions) -> Void = { _ in }
  ) throws -> [StandardRow] {
    var options = Fixtures.options(try #require(folder).write(name, text))
    options.rows.acceptsMedia = true
    change(&options)
    return try DatasetPlan.rows(options: options).train
  }

  @Test("Parts of chat APIs are joined and their media become marks in order")
  func parts() throws {
    let row = try #require(
      try rows(
        "a.jsonl",
        #"{"messages": [{"role": "user", "content": [{"type": "text", "text": "See "}, "#
          + #"{"type": "image", "image": "a.png"}, {"type": "text", "text": " and "}, "#
          + #"{"type": "image_url", "image_url": {"url": "b.png"}}, "#
          + #"{"type": "video", "video": "c.mp4"}]}, {"role": "assistant", "content": "x"}]}"#
      ).first)
    #expect(row.messages[0].content == "See <image> and <image><video>")
    #expect(row.images.map { $0["path"]?.string } == ["a.png", "b.png"])
    #expect(row.videos == [.string("c.mp4")])
  }

  @Test("A message list written as a Python literal is read")
  func literal() throws {
    let row = try #require(
      try rows(
        "a.jsonl",
        #"{"messages": "[{'role': 'user', 'content': 'it\\'s \"é\"\\n'}, {'role': 'assistant', 'content': 'x', 'loss': True,}]"}"#
      ).first)
    #expect(row.messages[0].content == "it's \"é\"\n")
    #expect(row.messages[1].loss == true)
  }

  @Test("A history written as text is read")
  func history() throws {
    let row = try #require(
      try rows("a.jsonl", #"{"query": "c", "response": "d", "history": "[['a', 'b']]"}"#).first)
    #expect(row.messages.map(\.content) == ["a", "b", "c", "d"])
  }

  @Test("Tool roles of other tools are understood, a hyphen as an underscore")
  func toolRoles() throws {
    let row = try #require(
      try rows(
        "a.jsonl",
        #"{"conversations": [{"from": "human", "value": "q"}, {"from": "function-call", "value": "{}"}, "#
          + #"{"from": "observation", "value": "o"}, {"from": "gpt", "value": "a"}]}"#
      ).first)
    #expect(row.messages.map(\.role) == ["user", "tool_call", "tool_response", "assistant"])
  }

  @Test("Of several responses one is drawn as numpy draws it, or the first is taken")
  func responses() throws {
    let text = (0..<8).map { _ in #"{"query": "q", "response": ["a", "b", "c"]}"# }
      .joined(separator: "\n")
    // numpy: RandomState(42).choice, eight times.
    #expect(try rows("a.jsonl", text).map { $0.messages[1].content }.joined() == "caccaacb")
    #expect(
      try rows("a.jsonl", text) { $0.rows.randomResponse = false }
        .map { $0.messages[1].content }.joined() == "aaaaaaaa")
  }

  @Test("Columns that clash are not renamed, and the user is told")
  func clash() throws {
    var options = Fixtures.options(
      try #require(folder).write("a.jsonl", #"{"query": "q", "answer": "a", "text": "t"}"#))
    let result = try DatasetPlan.rows(options: options)
    #expect(result.train[0].messages.map(\.content) == ["q"])
    #expect(
      result.report.notes.contains { $0.hasSuffix("columns answer, text all map to response") })
    options.rows.columns = ["ANSWER": "response", "text": "note"]
    #expect(try DatasetPlan.rows(options: options).train[0].messages.map(\.content) == ["q", "a"])
  }

  @Test("Unused columns go, unless they are to stay")
  func unused() throws {
    let text = #"{"query": "q", "response": "a", "note": "n", "label": 1}"#
    #expect(try rows("a.jsonl", text)[0].others.keys == ["label"])
    #expect(
      try rows("a.jsonl", text) { $0.rows.removeUnused = false }[0].others.keys == [
        "note", "label",
      ])
  }

  @Test("Rows of tokens are taken as they are")
  func tokens() throws {
    let text = """
      {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "loss_scale": [0, 1, 2.5]}
      {"input_ids": [5, 6], "labels": [6]}
      """
    var options = Fixtures.options(try #require(folder).write("a.jsonl", text))
    let template = try TextFixtures.template()
    let data = try DatasetPlan.prepare(options: options) { (row) throws(Fault) in
      try template.encode(row)
    }
    guard case .indexed(let samples) = data.train else { return }
    #expect(
      try samples.documents(0)
        == [EncodedRow(inputIDs: [5, 6, 7], labels: [-100, 6, 7], lossScale: [0, 1, 2.5])])
    #expect(data.report.files[0].dropped == 1)
    options.rows.strict = true
    #expect(throws: Fault.self) { try DatasetPlan.rows(options: options) }
  }

  @Test("A csv file keeps every value as text")
  func csv() throws {
    let found = try rows("a.csv", "query,response\n1,NA\n\"a\"\"b\",\n\"x\ny\",2.50\n")
    #expect(
      found.map { $0.messages.map(\.content) } == [["1", "NA"], ["a\"b", ""], ["x\ny", "2.50"]])
    #expect(found.map(\.source.line) == [2, 3, 4])
  }

  @Test("A csv file with too many fields or open quotes names the line")
  func badCSV() throws {
    for (text, message) in [
      ("query,response\na,b,c\n", "line 2: 3 fields under 2 column names"),
      ("query,response\na,b\n\"c,d\n", "line 3: a quoted field is not closed"),
    ] {
      let fault = #expect(throws: Fault.self) { try rows("a.csv", text) }
      #expect(fault?.message == message)
    }
  }

  @Test("A json file may be a list or objects line by line")
  func json() throws {
    let one = #"{"query": "q", "response": "a"}"#
    #expect(try rows("a.json", "[\n\(one),\n\(one)]").count == 2)
    #expect(try rows("a.json", "\(one)\n\(one)\n\(one)\n").count == 3)
    let fault = #expect(throws: Fault.self) { try rows("a.json", "[\n\(one),\n\(one),\n]") }
    #expect(fault?.message.hasPrefix("line 4: not valid JSON") == true)
  }

  @Test("An ending that is not known is refused with the kinds that are")
  func ending() throws {
    let fault = #expect(throws: Fault.self) { try rows("a.xlsx", "PK") }
    #expect(fault?.code == .badDataFile && fault?.expected?.contains(".parquet") == true)
  }

  @Test("A line longer than the read buffer is read whole")
  func longLine() throws {
    let word = String(repeating: "ab ", count: 60_000)
    let found = try rows("a.jsonl", "{\"query\": \"\(word)\", \"response\": \"é\"}\r\n")
    #expect(found[0].messages[0].content == word)
  }
}
