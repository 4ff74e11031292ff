import Foundation
import Model
import Support
import Testing

@testable import Launcher

@Suite("Flags in place of config.json")
struct ArchitectureOverrideTests {
  static func object(_ text: String) throws -> JSONObject {
    try #require(try JSONValue.parse(text).object)
  }

  static let text = """
    {"model_type": "qwen3", "rope_theta": 10000, "max_position_embeddings": 40960, "rope_scaling": null}
    """
  static let axes =
    #"{"mrope_interleaved": true, "mrope_section": [24, 20, 20], "rope_type": "default"}"#
  static let vision = """
    {"model_type": "qwen3_vl", "tie_word_embeddings": false, "image_token_id": 7, "video_token_id": 8,
     "text_config": {"rope_theta": 5000000, "max_position_embeddings": 1000, "rope_scaling": \(axes)},
     "vision_config": {"out_hidden_size": 4096}}
    """

  @Test("a kind takes its factor from the longest text, rounded up")
  func kind() throws {
    let rope = RopeOverride(.text("yarn"), maxModelLength: 100_000)
    let root = try ArchitectureOverrides(rope: rope).apply(
      to: try Self.object(Self.text), path: "config.json", weightsAreGiven: true)
    let config = try QwenConfig(json: .object(root), path: "config.json")
    guard case .yarn(let yarn)? = config.ropeScaling else {
      Issue.record("\(String(describing: config.ropeScaling))")
      return
    }
    #expect(yarn.factor == 3 && yarn.originalPositions == 40960)
    #expect(config.maxPositions == 100_000)
  }

  @Test("a kind without a length, and without a factor, is refused")
  func noFactor() throws {
    let rope = RopeOverride(.text("linear"), maxModelLength: nil)
    let root = try Self.object(Self.text)
    let fault = try #require(throws: Fault.self) {
      try ArchitectureOverrides(rope: rope).apply(
        to: root, path: "config.json", weightsAreGiven: true)
    }
    #expect(fault.code == .optionsDisagree && fault.description.contains("rope_scaling"))
  }

  @Test("--mrope_section goes beside the other rotary settings, and needs a model with media")
  func sections() throws {
    var flags = ArchitectureFlags()
    flags.mropeSection = ["22", "21", "21"]
    let root = try ArchitectureOverrides(flags).apply(
      to: try Self.object(Self.vision), path: "config.json", weightsAreGiven: true)
    let config = try QwenConfig(json: .object(root), path: "config.json")
    #expect(config.ropeSections == [22, 21, 21])
    let text = try Self.object(Self.text)
    let fault = try #require(throws: Fault.self) {
      try ArchitectureOverrides(flags).apply(to: text, path: "config.json", weightsAreGiven: true)
    }
    #expect(fault.description.contains("no positions of media"))
    flags.mropeSection = ["1", "1", "1"]
    let vision = try Self.object(Self.vision)
    #expect(throws: Fault.self) {
      let root = try ArchitectureOverrides(flags).apply(
        to: vision, path: "config.json", weightsAreGiven: true)
      _ = try QwenConfig(json: .object(root), path: "config.json")
    }
  }

  @Test("a model with a vision tower takes the flags into its text_config and keeps its axes")
  func nested() throws {
    let scaling = try JSONValue.parse(#"{"type": "linear", "factor": 2}"#)
    var flags = ArchitectureFlags()
    flags.rotaryBase = 7000
    let overrides = ArchitectureOverrides(
      flags, rope: RopeOverride(.json(scaling), maxModelLength: nil))
    let root = try overrides.apply(
      to: try Self.object(Self.vision), path: "config.json", weightsAreGiven: true)
    let config = try QwenConfig(json: .object(root), path: "config.json")
    #expect(config.ropeTheta == 7000 && config.ropeScaling == .linear(factor: 2))
    #expect(config.ropeSections == [24, 20, 20])
    #expect(root["rope_theta"] == nil)
  }

  @Test("tying is set where the file says it")
  func tied() throws {
    var flags = ArchitectureFlags()
    flags.untieEmbeddingsAndOutputWeights = false
    let root = try ArchitectureOverrides(flags).apply(
      to: try Self.object(Self.vision), path: "config.json", weightsAreGiven: false)
    #expect(root["tie_word_embeddings"] == .bool(true))
    #expect(try QwenConfig(json: .object(root), path: "config.json").tiesEmbeddings)
  }
}
