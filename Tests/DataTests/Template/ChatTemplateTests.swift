import Foundation
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct ChatTemplateTests {
  private typealias T = TextFixtures

  @Test("A row's system message wins over the default, and an empty one leaves the block out")
  func systemPriority() throws {
    let template = try T.template { $0.system = "default" }
    let turns = [("user", "q"), ("assistant", "a")]
    #expect(
      try template.renderedText(T.row(turns[0], turns[1])).hasPrefix(
        "<|im_start|>system\ndefault<|im_end|>\n"))
    #expect(
      try template.renderedText(T.row(("system", "own"), turns[0], turns[1])).hasPrefix(
        "<|im_start|>system\nown<|im_end|>\n"))
    #expect(
      try template.renderedText(T.row(("system", ""), turns[0], turns[1])).hasPrefix(
        "<|im_start|>user\n"))
  }

  @Test("The end of every trained round is trained, the line break after it never")
  func turnEnds() throws {
    let template = try T.template()
    var row = T.row(
      ("user", "1"), ("assistant", "one"), ("user", "2"), ("assistant", "two"), ("user", "3"),
      ("assistant", "three"))
    row.messages[3].loss = false
    let encoded = try template.encode(row)
    #expect(T.trained(encoded, template) == ["one<|im_end|>", "three<|im_end|>"])
  }

  @Test("The last end mark keeps its weight when the last reply has loss false")
  func lastEnd() throws {
    let template = try T.template()
    var row = T.row(("user", "1"), ("assistant", "one"))
    row.messages[1].loss = false
    #expect(T.trained(try template.encode(row), template) == ["<|im_end|>"])
  }

  @Test(
    "A reply that ends with a stop word gets no second end mark",
    arguments: [
      "<|im_end|>", "<|endoftext|>",
    ])
  func stopWord(_ word: String) throws {
    let template = try T.template()
    let text = try template.renderedText(T.row(("user", "q"), ("assistant", "a" + word)))
    #expect(text.hasSuffix("<|im_start|>assistant\na" + word))
  }

  @Test("Hybrid templates put an empty thought before replies without one")
  func emptyThinking() throws {
    let template = try T.template(.qwen3)
    let text = try template.renderedText(
      T.row(("user", "1"), ("assistant", "a"), ("user", "2"), ("assistant", "<think>\nb")))
    #expect(text.contains("<|im_start|>assistant\n<think>\n\n</think>\n\na<|im_end|>"))
    #expect(text.hasSuffix("<|im_start|>assistant\n<think>\nb<|im_end|>"))
  }

  @Test("Prompts drop earlier thoughts and open the thought of models that always reason")
  func prompts() throws {
    let template = try T.template(.qwen3Thinking)
    let row = T.row(
      ("user", "1"), ("assistant", "<think>\nx\n</think>\n\n a \n"), ("user", "2"),
      ("assistant", "dropped"))
    let prompt = template.tokenizer.decode(try template.encodePrompt(row))
    #expect(
      prompt
        == "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
        + "<|im_start|>user\n2<|im_end|>\n<|im_start|>assistant\n<think>\n")
    #expect(
      template.reply(template.tokenizer.encode("y</think>z<|im_end|>")) == "<think>\ny</think>z")
  }

  @Test("Plain text is question, answer and the end token")
  func plain() throws {
    let template = try T.template {
      $0.usesChatTemplate = false
      $0.lossScale = .all
    }
    let encoded = try template.encode(T.row(("assistant", "text")))
    #expect(template.tokenizer.decode(encoded.inputIDs) == "text<|im_end|>")
    #expect(T.trained(encoded, template) == ["ext<|im_end|>"])
    #expect(try template.renderedText(T.row(("user", "q"), ("assistant", "a"))) == "qa<|im_end|>")
  }

  @Test("Plain text of several rounds keeps the last one and says so")
  func plainRounds() throws {
    let template = try T.template { $0.usesChatTemplate = false }
    var encoder = TokenEncoder(template.tokenizer)
    var notes: Set<TemplateNote> = []
    let row = T.row(("user", "1"), ("assistant", "a"), ("user", "2"), ("assistant", "b"))
    let encoded = try template.encode(row, with: &encoder, notes: &notes)
    #expect(template.tokenizer.decode(encoded.inputIDs) == "2b<|im_end|>")
    #expect(notes == [.earlierRoundsLeftOut])
  }

  @Test("A reply in ReAct's form is continued by its observation")
  func observation() throws {
    let template = try T.template()
    let text = try template.renderedText(
      T.row(
        ("user", "q"), ("assistant", "Action: f\nAction Input: {}"), ("tool", "5"),
        ("assistant", "Final Answer: 5")))
    #expect(
      text.hasSuffix("Action: f\nAction Input: {}\nObservation:5\nFinal Answer: 5<|im_end|>"))
  }

  @Test("Tools are written as Python writes JSON, bare functions wrapped")
  func tools() throws {
    let template = try T.template()
    var row = T.row(("user", "q"), ("assistant", "a"))
    row.tools = .string(#"[{"name":"f","x":[1.0,1E5,-0,"é/\u00e9"],"y":null}]"#)
    #expect(
      try template.renderedText(row).contains(
        "\n<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"f\", "
          + "\"x\": [1.0, 100000.0, 0, \"é/é\"], \"y\": null}}\n</tools>\n"))
  }

  @Test("Tool calls take parameters for arguments and read arguments given as text")
  func calls() throws {
    let template = try T.template()
    let text = try template.renderedText(
      T.row(
        ("user", "q"), ("tool_call", #"{"name": "f", "parameters": {"a": 1}}"#),
        ("tool_call", #"{"name": "g", "arguments": "{\"b\": 2}"}"#), ("tool_response", "r"),
        ("assistant", "a")))
    #expect(text.contains(#"{"name": "f", "arguments": {"a": 1}}"#))
    #expect(text.contains(#"{"name": "g", "arguments": {"b": 2}}"#))
  }

  @Test("Runs of ignored labels and of placeholders are shown by their number")
  func display() throws {
    let template = try T.template(.qwen3VL)
    let pad = try #require(template.tokenizer.id(of: "<|image_pad|>"))
    #expect(template.shown([pad, pad, 64, -100, -100, -100]) == "[\(pad) * 2]a[-100 * 3]")
    let lines = template.display(EncodedRow(inputIDs: [64], labels: [-100], lossScale: [0]))
    #expect(
      lines == [
        "[INPUT_IDS] [64]", "[INPUT] a", "[LABELS_IDS] [-100]", "[LABELS] [-100 * 1]",
        "[LOSS_SCALE] [0.0]", "[TRAINED] a",
      ])
  }

  @Test("The fingerprint changes with the template, the system text and the tokenizer")
  func fingerprint() throws {
    let base = try T.template().fingerprint
    #expect(try T.template().fingerprint == base)
    #expect(try T.template(.qwen3).fingerprint != base)
    #expect(try T.template { $0.system = "s" }.fingerprint != base)
    #expect(try T.template { $0.lossScale = .all }.fingerprint != base)
    let options = TemplateOptions(template: .qwen3NoThinking)
    let other = try Tokenizer.byteLevel(special: ["<|im_end|>"], end: "<|im_end|>")
    #expect(try ChatTemplate(options: options, tokenizer: other).fingerprint != base)
  }
}

@Suite struct TemplateLengthTests {
  private typealias T = TextFixtures

  private func cut(_ strategy: TruncationStrategy, _ length: Int, _ text: String) throws -> String {
    let template = try T.template(.qwen3VL) {
      $0.maxLength = length
      $0.truncation = strategy
      $0.usesChatTemplate = false
    }
    let encoded = try template.encode(T.row(("user", text), ("assistant", "z")))
    #expect(encoded.labels.count == encoded.inputIDs.count)
    return template.tokenizer.decode(encoded.inputIDs)
  }

  @Test("Cutting keeps one side and every placeholder")
  func placeholders() throws {
    let text = "ab<|image_pad|>cd<|image_pad|>ef"
    #expect(try cut(.right, 5, text) == "ab<|image_pad|>c<|image_pad|>")
    #expect(try cut(.left, 5, text) == "<|image_pad|><|image_pad|>fz<|im_end|>")
    #expect(try cut(.right, 1, text) == "<|image_pad|><|image_pad|>")
  }

  @Test("A row over max_length that is not to be cut names both numbers")
  func tooLong() throws {
    let fault = T.fault { _ = try cut(.delete, 5, "abcdefgh") }
    #expect(fault?.code == .rowTooLong)
    #expect(fault?.message == "row has 10 tokens, max_length is 5")
    #expect(fault?.place == .file("rows.jsonl", line: 7))
  }

  @Test("Rows are padded to the length multiple before they are measured")
  func multiple() throws {
    let template = try T.template {
      $0.lengthMultiple = 4
      $0.usesChatTemplate = false
      $0.maxLength = 7
    }
    let five = try template.encode(T.row(("user", ""), ("assistant", "ab")))
    #expect(five.inputIDs.count == 4 && five.inputIDs.last == template.tokenizer.padID)
    let fault = T.fault { _ = try template.encode(T.row(("user", ""), ("assistant", "abcde"))) }
    #expect(fault?.message == "row has 8 tokens, max_length is 7")
  }
}

@Suite struct TokenRowTests {
  private func encode(
    _ ids: [Int32], _ labels: [Int32], _ weights: String? = nil
  ) throws -> EncodedRow {
    var row = TextFixtures.row()
    row.inputIDs = ids
    row.labels = labels
    if let weights { row.others["loss_scale"] = try JSONValue.parse(weights) }
    return try TextFixtures.template().encode(row)
  }

  @Test("Rows that carry their ids are taken as they are")
  func asTheyAre() throws {
    #expect(
      try encode([1, 2, 3], [-100, 2, 3], "[0, 1, 0.5]")
        == EncodedRow(inputIDs: [1, 2, 3], labels: [-100, 2, 3], lossScale: [0, 1, 0.5]))
  }

  @Test("The loader leaves token rows out whose ids the model does not have")
  func loaded() throws {
    let folder = try Fixtures.Folder()
    let file = try folder.write(
      "t.jsonl",
      """
      {"input_ids": [1, 2], "labels": [-100, 2]}
      {"input_ids": [1, 262], "labels": [-100, 262]}
      """)
    let template = try TextFixtures.template()
    let data = try DatasetPlan.prepare(options: Fixtures.options(file)) { (row) throws(Fault) in
      try template.encode(row)
    }
    #expect(data.train.count == 1)
  }

  @Test("Ids beyond the vocabulary and lists of unequal length are refused")
  func checked() throws {
    func code(_ ids: [Int32], _ labels: [Int32], _ weights: String? = nil) -> FaultCode? {
      TextFixtures.fault { _ = try encode(ids, labels, weights) }?.code
    }
    #expect(code([1, 2], [1]) == .badTokenRow)
    #expect(code([1, 262], [-100, 1]) == .badTokenRow)
    #expect(code([1, -1], [-100, 1]) == .badTokenRow)
    #expect(code([1, 2], [-100, 900]) == .badTokenRow)
    #expect(code([1, 2], [-100, 2], "[1]") == .badTokenRow)
    #expect(code([1, 2], [-100, -100]) == .nothingToTrain)
  }
}
