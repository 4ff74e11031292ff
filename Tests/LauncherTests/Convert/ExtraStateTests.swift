import Model
import Support
import Testing

@testable import Launcher

@Suite("Empty states of Transformer Engine modules")
struct ExtraStateTests {
  static func config() throws -> QwenConfig {
    let text = """
      {"model_type": "qwen3_moe", "num_hidden_layers": 2, "num_experts": 3, "num_experts_per_tok": 2}
      """
    return try QwenConfig(json: try JSONValue.parse(text), path: "config.json")
  }

  @Test("one for each module and layer, and for each expert")
  func keys() throws {
    let objects = MegatronObjects.extraState(try Self.config())
    #expect(objects.count == 2 * (6 + 3 * 2) + 1)
    #expect(Set(objects.map(\.key)).count == objects.count)
    #expect(objects.allSatisfy { $0.storages[0].bytes.isEmpty })
  }

  @Test("a pickled None stands in modules with a matrix only")
  func pickledNone() throws {
    for object in MegatronObjects.extraState(try Self.config(), .pickledNone) {
      let bytes = object.storages[0].bytes
      #expect(bytes == (object.key.contains("linear_") ? [0x80, 0x04, 0x4e, 0x2e] : []))
    }
  }
}
