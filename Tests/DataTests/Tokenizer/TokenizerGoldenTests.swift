import Testing

@testable import DataPipeline
@testable import Support

@Suite struct TextGoldenTests {
  @Test("Ids and decoded texts equal the reference's")
  func tokenize() throws {
    let report = try runTextGolden(
      golden: "\(Fixtures.goldens)/data/tokenize.json", dataRoot: Fixtures.data,
      tokenizer: TextFixtures.qwen.get())
    #expect(report.failures == [])
    #expect(report.cases == 367)
  }

  @Test("Rows under all loss, length and template options equal the reference's")
  func rows() throws {
    let report = try runTextGolden(
      golden: "\(Fixtures.goldens)/data/rows_text.json", dataRoot: Fixtures.data,
      tokenizer: TextFixtures.qwen.get())
    #expect(report.failures == [])
    #expect(report.cases == 145)
  }

  @Test("Rows and prompts of three templates equal the reference's")
  func templates() throws {
    let report = try runTextGolden(
      golden: "\(Fixtures.goldens)/data/rows_text_templates.json", dataRoot: Fixtures.data,
      tokenizer: TextFixtures.qwen.get())
    #expect(report.failures == [])
    #expect(report.cases == 375)
  }

  @Test("A golden that was changed is reported as a difference")
  func difference() throws {
    let folder = try Fixtures.Folder()
    let file = try folder.write(
      "tokenize.json",
      #"{"rows": [{"text": "a", "ids": [0], "decoded": "a", "decoded_skip_special": "a"}]}"#)
    let report = try runTokenizeGolden(golden: file, tokenizer: TextFixtures.byteLevel())
    #expect(report.failures.count == 1 && !report.passed)
  }
}
