import Testing

@testable import DataPipeline
@testable import Support

@Suite struct LossScaleTests {
  private func golden() throws -> JSONValue {
    try goldenValue("\(Fixtures.root)/goldens/data/loss_parts.json")
  }

  @Test("Replies are cut and weighted as the reference does")
  func parts() throws {
    let cases = try #require(try golden()["parts"]?.array)
    #expect(cases.count == 120)
    for item in cases {
      let scheme = try LossScale(named: item["scheme"]?.string ?? "")
      let text = item["text"]?.string ?? ""
      let segments = scheme.segments(ofReply: text, query: item["query"]?.string, isLast: true)
      let wanted = (item["parts"]?.array ?? []).map { part in
        Segment(part.array?[0].string ?? "", weight: Float(part.array?[1].double ?? -1))
      }
      #expect(Segment.joined(segments) == wanted, "\(scheme) \(text.debugDescription)")
    }
  }

  @Test("Schemes of the last round leave earlier replies untrained")
  func lastRound() {
    for scheme in [LossScale.lastRound, .lastRoundIgnoreEmptyThink] {
      #expect(scheme.segments(ofReply: "a", query: "", isLast: false) == [Segment("a", weight: 0)])
      let last = Segment.joined(scheme.segments(ofReply: "a", query: "", isLast: true))
      #expect(last == [Segment("a", weight: 1)])
    }
  }

  @Test("Alpha-UMi weighs what follows Next: twice")
  func alphaUmi() {
    let parts = LossScale.alphaUmi.segments(ofReply: "aNext: b", query: "", isLast: true)
    #expect(Segment.joined(parts) == [Segment("a", weight: 1), Segment("Next: b", weight: 2)])
  }

  @Test("Weights other than 0 and 1 stay beside the labels, a row's own loss wins")
  func weights() throws {
    let template = try TextFixtures.template { $0.lossScale = .hermes }
    var row = TextFixtures.row(("user", "q"), ("assistant", "<tool_call>x</tool_call>"))
    let ids = try template.encode(row)
    #expect(ids.lossScale?.contains(2) == true && ids.lossScale?.last == 1)
    row.messages[1].loss = true
    #expect(try template.encode(row).lossScale?.contains(2) == false)
    #expect(try TextFixtures.template().encode(row).lossScale == nil)
  }

  @Test("Numbers are written as Python writes them after reading")
  func numbers() throws {
    let cases = try #require(try golden()["numbers"]?.array)
    #expect(cases.count == 60)
    for item in cases {
      let pair = try #require(item.array)
      let value = try JSONValue.parse(pair[0].string ?? "")
      #expect(value.pythonText == pair[1].string)
    }
  }
}

@Suite struct TemplateChoiceTests {
  private func choose(_ facts: TemplateChoice.Facts) throws -> String {
    let choice = try TemplateChoice(facts)
    return "\(choice.modelType) \(choice.template.rawValue)"
  }

  @Test(
    "Published names decide, in any case and with marks of quantization",
    arguments: [
      ("Qwen/Qwen3-0.6B", "qwen3 qwen3"), ("/m/qwen3-4b-base/", "qwen3 qwen3"),
      ("Qwen3-30B-A3B", "qwen3_moe qwen3"), ("Qwen3-32B-FP8", "qwen3 qwen3"),
      ("Qwen3-4B-Instruct-2507", "qwen3_nothinking qwen3_nothinking"),
      ("Qwen3-235B-A22B-Instruct-2507-FP8", "qwen3_nothinking qwen3_nothinking"),
      ("Qwen3-4B-Thinking-2507", "qwen3_thinking qwen3_thinking"),
      ("Qwen3-30B-A3B-Thinking-2507", "qwen3_moe_thinking qwen3_thinking"),
      ("Qwen3-VL-8B-Instruct", "qwen3_vl qwen3_vl"),
      ("Qwen3-VL-30B-A3B-Thinking", "qwen3_moe_vl qwen3_vl"),
    ])
  func names(_ model: String, _ wanted: String) throws {
    #expect(try choose(.init(model: model)) == wanted)
  }

  @Test("Other names are decided by what the chat template does")
  func chatTemplate() throws {
    func by(_ text: String?, _ architecture: String = "Qwen3ForCausalLM") throws -> String {
      try choose(.init(model: "out/ckpt", architectures: [architecture], chatTemplate: text))
    }
    #expect(try by("{% if enable_thinking %}") == "qwen3 qwen3")
    #expect(try by("{% if enable_thinking %}", "Qwen3MoeForCausalLM") == "qwen3_moe qwen3")
    let thinking =
      "<think> {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}"
    #expect(try by(thinking) == "qwen3_thinking qwen3_thinking")
    #expect(try by("{% if add_generation_prompt %}") == "qwen3_nothinking qwen3_nothinking")
    #expect(try by(nil) == "qwen3_nothinking qwen3_nothinking")
    #expect(try by(nil, "Qwen3VLForConditionalGeneration") == "qwen3_vl qwen3_vl")
  }

  @Test("Flags override, and unknown names are refused")
  func flags() throws {
    #expect(
      try choose(.init(model: "Qwen3-4B", template: "qwen3_thinking")) == "qwen3 qwen3_thinking")
    #expect(try choose(.init(model: "x", modelType: "qwen3_moe")) == "qwen3_moe qwen3")
    func code(_ facts: TemplateChoice.Facts) -> FaultCode? {
      TextFixtures.fault { _ = try choose(facts) }?.code
    }
    #expect(code(.init(model: "x", modelType: "llama")) == .unknownTemplate)
    #expect(code(.init(model: "x", architectures: ["LlamaForCausalLM"])) == .unknownTemplate)
    #expect(code(.init(model: "Qwen3-4B", template: "chatml")) == .unknownTemplate)
  }
}
