import Parallel
import Support
import Tensor
import Testing

@testable import Optim

@Suite struct ChunkTreeTests {
  /// One-element gradients accumulated by the optimizer's own machinery.
  private func accumulate(_ values: [Float], chunks: Int) throws -> (sum: Float, sets: Int) {
    let engine = try Engine()
    let parameter = try Parameter("w", .whole([1]), .float32, on: engine)
    let buffer = try GradientBuffer(
      [OptimizedParameter(parameter)], indices: [0], group: SelfWorld(),
      layout: BufferLayout(counts: [1], groupSize: 1, isSharded: false), gradientType: .float32,
      engine: engine)
    let tree = try ChunkTree(chunks: chunks, dataParallel: 1)
    let accumulator = GradientAccumulator([buffer], tree: tree)
    accumulator.begin(microBatches: values.count)
    for (m, value) in values.enumerated() {
      try accumulator.beginMicroBatch(m)
      let slot = try #require(try parameter.gradientSlot())
      slot.tensor.floats[0] = slot.adds ? slot.tensor.floats[0] + value : value
      accumulator.endMicroBatch(m)
    }
    #expect(accumulator.isComplete)
    #expect(accumulator.extraSets + 1 == tree.buffers(microBatches: values.count))
    return (buffer.flat.floats[0], accumulator.extraSets + 1)
  }

  /// The order written out: chunk j mod N in ascending j, then partners at distance N/2 first.
  private func reference(_ values: [Float], chunks: Int) -> Float {
    func node(_ index: Int, _ stride: Int) -> Float? {
      if stride == chunks {
        var sum: Float?
        var j = index
        while j < values.count {
          sum = sum.map { $0 + values[j] } ?? values[j]
          j += chunks
        }
        return sum
      }
      guard let left = node(index, stride * 2) else { return nil }
      guard let right = node(index + stride, stride * 2) else { return left }
      return left + right
    }
    return node(0, 1) ?? 0
  }

  @Test("Micro-batches are added in the written order, for every number of them")
  func order() throws {
    var random = TestRandom(seed: 11)
    for chunks in [1, 2, 4, 8] {
      for count in 1...19 {
        let values = (0..<count).map { _ in random.unit() * Float(random.int(in: 1...1000)) }
        let sum = try accumulate(values, chunks: chunks).sum
        #expect(sum.bitPattern == reference(values, chunks: chunks).bitPattern)
      }
    }
  }

  @Test("One micro-batch per chunk needs N/2 + 1 buffers, more need N, one chunk needs one")
  func buffers() throws {
    #expect(try accumulate([1, 2, 3, 4], chunks: 4).sets == 3)
    #expect(try accumulate([1, 2, 3, 4, 5, 6, 7, 8], chunks: 8).sets == 5)
    #expect(try accumulate([1, 2, 3, 4, 5], chunks: 4).sets == 4)
    #expect(try accumulate([1, 2, 3, 4, 5], chunks: 1).sets == 1)
    #expect(try accumulate([1, 2], chunks: 8).sets == 2)
  }
}
