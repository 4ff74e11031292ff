import Testing

@testable import DataPipeline
@testable import Support

@Suite struct MediaGoldens {
  private func report(_ name: String) throws -> GoldenReport {
    try runMediaGolden(
      golden: "\(Fixtures.goldens)/data/\(name)", dataRoot: Fixtures.data,
      tokenizer: TextFixtures.qwen.get())
  }

  @Test("Pictures of every kind are decoded, resized and cut as the reference's")
  func pictures() throws {
    let report = try report("image.json")
    #expect(report.failures == [])
    #expect(report.cases >= 20 + 48)
  }

  @Test("Clips are sampled, sized, decoded and written as the reference's")
  func clips() throws {
    let report = try report("video.json")
    #expect(report.failures == [])
    #expect(report.cases >= 5 + 24 + 10)
  }

  @Test(
    "Rows with media have the reference's tokens, labels, grids and pixels",
    arguments: [
      ("rows_media.json", 44), ("rows_grounding_legacy.json", 7), ("rows_grounding_new.json", 7),
    ])
  func rows(file: String, least: Int) throws {
    let report = try report(file)
    #expect(report.failures == [])
    #expect(report.cases >= least)
  }
}
