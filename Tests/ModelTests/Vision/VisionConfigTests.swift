import Model
import Support
import Testing

@Suite struct VisionConfigTests {
  @Test("both parts of a configuration are read") func parts() throws {
    let config = try VisionRig.config(experts: 4)
    #expect(config.family == .qwen3VLMoE && config.hiddenSize == 32)
    #expect(config.experts?.normalizesTopK == true && config.experts?.count == 4)
    #expect(config.ropeSections == [2, 1, 1] && config.ropeTheta == 5e6)
    let vision = try #require(config.vision)
    #expect(vision.headSize == 12 && vision.positionSide == 4 && vision.patchValues == 96)
    #expect(vision.isPlaceholder(508) && vision.isPlaceholder(509) && !vision.isPlaceholder(507))
  }

  @Test("the tie of the embeddings is that of the top level") func tie() throws {
    let config = try VisionRig.config { root in
      guard case .object(var text)? = root["text_config"] else { return }
      text["tie_word_embeddings"] = .bool(false)
      root["text_config"] = .object(text)
      root["tie_word_embeddings"] = .bool(true)
    }
    #expect(config.tiesEmbeddings)
  }

  @Test(
    "what is missing or would change the mathematics is refused",
    arguments: [
      ("vision_config", "hidden_act", JSONValue.string("gelu"), "MODEL-102"),
      ("vision_config", "out_hidden_size", JSONValue(16), "MODEL-101"),
      ("vision_config", "num_position_embeddings", JSONValue(15), "MODEL-101"),
      ("vision_config", "deepstack_visual_indexes", .array([JSONValue(3)]), "MODEL-101"),
      ("vision_config", "num_heads", JSONValue(5), "MODEL-101"),
      ("text_config", "rope_theta", .null, "MODEL-101"),
      ("text_config", "attention_bias", .bool(true), "MODEL-102"),
    ])
  func refused(section: String, key: String, value: JSONValue, code: String) throws {
    let fault = #expect(throws: Fault.self) {
      _ = try VisionRig.config { root in
        guard case .object(var part)? = root[section] else { return }
        part[key] = value
        root[section] = .object(part)
      }
    }
    #expect(fault?.code.id == code)
  }
}
