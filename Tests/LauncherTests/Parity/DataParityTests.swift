import DataPipeline
import Foundation
import Support
import Testing

@testable import Launcher

@Suite("Stored cases of the data pipeline")
struct DataParityTests {
  private func report(_ path: String) throws -> GoldenReport {
    try runPositionGolden(
      golden: path, image: 151655, video: 151656,
      positions: DataParity.positions(placeholders: [151655, 151656]))
  }

  @Test("Positions of pictures, clips and padded batches are the reference's")
  func positions() throws {
    let report = try report(Fixtures.folder + "/rope.json")
    #expect(report.failures == [])
    #expect(report.cases == 13)
  }

  @Test("A position that differs is a failure with the name of its case")
  func positionDiffers() throws {
    let folder = try TemporaryFolder()
    let text = try Fixtures.text("rope.json")
    let changed = text.replacing(
      "5,5,5,6,6,6,8", with: "5,5,5,6,6,7,8", maxReplacements: 1)
    #expect(changed != text)
    try AtomicFile.write(changed, to: folder.path + "/rope.json")
    let report = try report(folder.path + "/rope.json")
    #expect(report.failures == ["image: row 0: height differs"])
  }
}
