import Testing

@testable import DataPipeline
@testable import Support

@Suite struct DataGoldens {
  @Test("Standard rows, orders and random numbers equal the reference's")
  func dataset() throws {
    let report = try runDatasetGolden(
      golden: "\(Fixtures.goldens)/data/dataset.json", dataRoot: Fixtures.data)
    #expect(report.failures == [])
    // 28 files with their row counts, 16 orders in two parts, 3 generators.
    #expect(report.cases > 28 + 150 + 32 + 3)
  }

  @Test("Packs equal those of fullest-fit packing")
  func packing() throws {
    let report = try runPackingGolden(golden: "\(Fixtures.goldens)/data/packing.json")
    #expect(report.failures == [])
    #expect(report.cases == 20)
  }

  @Test("Packs by rounds of other sizes carry the last bin on")
  func packingRounds() throws {
    let report = try runPackingRoundsGolden(
      golden: "\(Fixtures.goldens)/training/packing_cp.json")
    #expect(report.failures == [])
    #expect(report.cases == 9)
  }

  @Test("Permutations, samplers and epoch runs equal the reference's")
  func samplers() throws {
    let report = try runSamplerGolden(golden: "\(Fixtures.goldens)/training/samplers.json")
    #expect(report.failures == [])
    #expect(report.cases > 10 + 12 + 25 + 26 * 3)
  }
}
