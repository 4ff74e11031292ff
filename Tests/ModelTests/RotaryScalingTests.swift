import Foundation
import Support
import Testing

@testable import Model

/// Expected values: transformers 5.23, `Qwen3RotaryEmbedding`, at position 70.
@Suite("Stretched rotary positions")
struct RotaryScalingTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let headSize: Int
    let positions: Int
    let keys: String
    let cosines: [Float]
    let sines: [Float]
  }

  static let cases = [
    Case(
      testDescription: "yarn by its defaults", headSize: 16, positions: 64,
      keys: """
        "rope_theta": 10000, "rope_scaling":
          {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
        """,
      cosines: [
        0.72111589, -0.71312743, -1.06627727, 0.96868122, 1.12123859, 1.13688636, 1.13845503,
        1.13861203,
      ],
      sines: [
        0.88117468, -0.88765210, -0.39941189, 0.59844267, 0.19824465, 0.06297944, 0.01992500,
        0.00630113,
      ]),
    Case(
      testDescription: "yarn with every number given", headSize: 16, positions: 256,
      keys: """
        "rope_parameters":
          {"rope_theta": 500000, "rope_type": "yarn", "factor": 3.0, "beta_fast": 8, "beta_slow": 2,
           "original_max_position_embeddings": 96, "truncate": false, "mscale": 0.7,
           "mscale_all_dim": 1.2}
        """,
      cosines: [
        0.60258269, 0.65784597, 0.60807908, 0.93772584, 0.95094961, 0.95144814, 0.95146686,
        0.95146757,
      ],
      sines: [
        0.73633188, 0.68740761, 0.73179932, 0.16112360, 0.03139113, 0.00608852, 0.00118071,
        0.00022897,
      ]),
    Case(
      testDescription: "linear", headSize: 8, positions: 256,
      keys: """
        "rope_theta": 10000, "rope_scaling": {"rope_type": "linear", "factor": 2.5}
        """,
      cosines: [-0.96260589, -0.94222236, 0.96105546, 0.99960804],
      sines: [0.27090579, 0.33498821, 0.27635562, 0.02799634]),
  ]

  static func config(_ keys: String, headSize: Int = 16, positions: Int = 64) throws -> QwenConfig {
    let text = """
      {"model_type": "qwen3", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4,
       "head_dim": \(headSize), "max_position_embeddings": \(positions), \(keys)}
      """
    return try QwenConfig(json: try JSONValue.parse(text), path: "config.json")
  }

  @Test("angles are those of the reference", arguments: cases)
  func angles(_ example: Case) throws {
    let config = try Self.config(
      example.keys, headSize: example.headSize, positions: example.positions)
    let half = config.headSize / 2
    var table = RotaryTable(theta: config.ropeTheta, half: half, scaling: config.ropeScaling)
    var cos = [Float](repeating: 0, count: half)
    var sin = cos
    cos.withUnsafeMutableBufferPointer { c in
      sin.withUnsafeMutableBufferPointer { s in table.fill([70], cos: c, sin: s) }
    }
    for j in 0..<half {
      #expect(abs(cos[j] - example.cosines[j]) < 4e-6, "cosine \(j)")
      #expect(abs(sin[j] - example.sines[j]) < 4e-6, "sine \(j)")
    }
  }

  @Test(
    "impossible numbers and unknown kinds name the key",
    arguments: [
      (#"{"rope_type": "linear"}"#, FaultCode.badModelConfig),
      (#"{"rope_type": "linear", "factor": 0.5}"#, .badModelConfig),
      (#"{"rope_type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 2}"#, .badModelConfig),
      (#"{"rope_type": "yarn", "factor": 2, "attention_factor": -1}"#, .badModelConfig),
      (#"{"rope_type": "dynamic", "factor": 2}"#, .unknownModel),
    ])
  func refused(_ scaling: String, _ code: FaultCode) throws {
    let fault = try #require(throws: Fault.self) {
      try Self.config(#""rope_theta": 10000, "rope_scaling": \#(scaling)"#)
    }
    #expect(fault.code == code && fault.message.contains("rope"))
  }
}
