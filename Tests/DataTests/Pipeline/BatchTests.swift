import Testing

@testable import DataPipeline
@testable import Support

@Suite struct Batches {
  private func row(_ ids: [Int32], scale: [Float]? = nil, channel: String? = nil) -> EncodedRow {
    EncodedRow(
      inputIDs: ids, labels: ids.map { $0 % 2 == 0 ? -100 : $0 }, lossScale: scale, channel: channel
    )
  }

  @Test("Rows are joined with positions that restart and starts of the documents")
  func joined() {
    let batch = BatchAssembly().assemble([row([1, 2, 3], channel: "x"), row([4, 5])])
    #expect(batch.inputIDs == [1, 2, 3, 4, 5])
    #expect(batch.labels == [1, -100, 3, -100, 5])
    #expect(batch.positions == [0, 1, 2, 0, 1])
    #expect(batch.cuSeqlens == [0, 3, 5])
    #expect(batch.lossScale == nil)
    #expect(batch.channels == ["x", nil] && batch.sampleCount == 2)
  }

  @Test("Padding to a multiple makes each token a document of its own, and no sample")
  func padded() {
    let batch = BatchAssembly(padToken: 9, multiple: 4).assemble([row([1, 2, 3]), row([4, 5])])
    #expect(batch.inputIDs == [1, 2, 3, 4, 5, 9, 9, 9])
    #expect(batch.labels.suffix(3) == [-100, -100, -100])
    #expect(batch.positions.suffix(3) == [0, 0, 0])
    #expect(batch.cuSeqlens == [0, 3, 5, 6, 7, 8])
    #expect(batch.sampleCount == 2)
  }

  @Test("Without padding-free, rows are padded right to the longest multiple")
  func rectangular() {
    let batch = BatchAssembly(padToken: 9, multiple: 2, paddingFree: false)
      .assemble([row([1, 2, 3]), row([4, 5])])
    #expect(batch.inputIDs == [1, 2, 3, 9, 4, 5, 9, 9])
    #expect(batch.positions == [0, 1, 2, 0, 0, 1, 0, 0])
    #expect(batch.cuSeqlens == [0, 3, 4, 6, 7, 8])
  }

  @Test("A row without weights beside one with some has 1 where it is trained")
  func weights() {
    let batch = BatchAssembly(multiple: 3).assemble([row([1, 3], scale: [0, 2]), row([4, 5])])
    #expect(batch.lossScale == [0, 2, 0, 1, 0, 0])
  }

  @Test("Cutting keeps protected tokens and counts the others from its side")
  func cut() {
    let row = row([1, 3, 70, 70, 5, 7, 9], scale: [1, 2, 3, 4, 5, 6, 7])
    let right = row.cut(to: 4, from: .right, keeping: [70])
    #expect(right.inputIDs == [1, 3, 70, 70])
    #expect(right.labels == [-100, 3, -100, -100] && right.lossScale == [0, 2, 3, 4])
    #expect(row.cut(to: 4, from: .left, keeping: [70]).inputIDs == [70, 70, 7, 9])
    #expect(row.cut(to: 1, from: .left, keeping: [70]).inputIDs == [70, 70])
  }

  @Test("Fullest-fit differs from least-loaded: the hand-made example")
  func fullestFit() {
    let lengths = [9, 6, 6, 5, 4, 4, 3, 2, 1]
    let packs = Packing.packs(lengths: lengths, capacity: 10).map { $0.map { lengths[$0] } }
    #expect(packs == [[9, 1], [6, 4], [6, 4], [5, 3, 2]])
  }

  @Test("Every row stands in exactly one pack, and a row over the capacity alone")
  func packsAll() {
    let lengths = (0..<2500).map { ($0 * 7919) % 400 + 1 }
    let packs = Packing.packs(lengths: lengths, capacity: 300)
    #expect(packs.flatMap { $0 }.sorted() == Array(0..<2500))
    let fits = packs.allSatisfy { $0.count == 1 || $0.reduce(0) { $0 + lengths[$1] } <= 300 }
    #expect(fits)
  }
}
