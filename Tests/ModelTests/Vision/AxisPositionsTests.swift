import Model
import Support
import Testing

@Suite struct AxisPositionsTests {
  private static let image: Int32 = 508
  private static let video: Int32 = 509

  private func config() throws -> VisionConfig {
    try #require(try VisionRig.config().vision)
  }

  @Test("a picture holds time still and text goes on behind its longer side") func picture() throws
  {
    let ids: [Int32] = [1, 2] + [Int32](repeating: Self.image, count: 6) + [3]
    let got = try AxisPositions(
      ids: ids, grids: [PatchGrid(t: 1, h: 4, w: 6)], documentStarts: [0, 9], config: config())
    #expect(got.time == [0, 1, 2, 2, 2, 2, 2, 2, 5])
    #expect(got.height == [0, 1, 2, 2, 2, 3, 3, 3, 5])
    #expect(got.width == [0, 1, 2, 3, 4, 2, 3, 4, 5])
  }

  @Test("every slice of a clip is placed like a picture of its own") func clip() throws {
    let slice = [Int32](repeating: Self.video, count: 2)
    let got = try AxisPositions(
      ids: [7] + slice + [8] + slice, grids: [PatchGrid(t: 2, h: 4, w: 2)],
      documentStarts: [0, 6], config: config())
    #expect(got.time == [0, 1, 1, 3, 4, 4])
    #expect(got.height == [0, 1, 2, 3, 4, 5])
    #expect(got.width == [0, 1, 1, 3, 4, 4])
  }

  @Test("documents of a packed row begin anew; text alone counts on all axes") func documents()
    throws
  {
    let ids: [Int32] = [1, 2, Self.image, 3, 4, 5]
    let got = try AxisPositions(
      ids: ids, grids: [PatchGrid(t: 1, h: 2, w: 2)], documentStarts: [0, 2, 4, 6],
      config: config())
    #expect(got == AxisPositions(text: [0, 1, 0, 1, 0, 1]))
  }

  @Test("placeholders that do not fit the pictures are refused") func mismatch() throws {
    let config = try config()
    let grid = PatchGrid(t: 1, h: 2, w: 4)
    func code(_ ids: [Int32], _ grids: [PatchGrid], _ starts: [Int32]) -> FaultCode? {
      do throws(Fault) {
        _ = try AxisPositions(ids: ids, grids: grids, documentStarts: starts, config: config)
        return nil
      } catch { return error.code }
    }
    let (i, v) = (Self.image, Self.video)
    #expect(code([i, i], [grid], [0, 2]) == nil)
    #expect(code([i], [grid], [0, 1]) == .visionMismatch)
    #expect(code([i, v], [grid], [0, 2]) == .visionMismatch)
    #expect(code([i, i], [grid], [0, 1, 2]) == .visionMismatch)
    #expect(code([i, i, 1, i], [grid], [0, 4]) == .visionMismatch)
    #expect(code([1, 2], [grid], [0, 2]) == .visionMismatch)
  }
}
