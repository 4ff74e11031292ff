import Tensor
import Testing

@testable import Parallel

/// The gradient of the table where the main gradient is not fp32.
@Suite("Embedding gradients in a bf16 buffer")
struct EmbeddingGradientTests {
  /// A gradient of 1 at every element of `ids.count` rows, twice over.
  private func gradient(_ ids: [Int32], slot: DType, times: Int) throws -> [Float] {
    let engine = try Engine()
    let (v, h) = (6, 3)
    let weight = try Parameter.test(
      "table", .even([v, h], dim: 0, rank: 0, of: 1), [Float](repeating: 0, count: v * h),
      on: engine)
    weight.gradient = try Tensor.zeros([v, h], slot, on: engine)
    let alone = SelfWorld(label: "self")
    let setting = try Setting.test(
      tokens: ids.count, on: engine, groups: ModelGroups(tp: alone, ep: alone, etp: alone),
      sequenceParallel: false)
    for _ in 0..<times {
      let tape = Tape()
      let y = try VocabParallelEmbedding(weight: weight, firstID: 0)(
        try Tensor(ids, on: engine), in: Context(tape: tape, setting: setting))
      try tape.seed(
        y, with: try Tensor([Float](repeating: 1, count: ids.count * h), y.shape, on: engine))
      try tape.backward()
    }
    return try #require(weight.gradient).converted(to: .float32).values
  }

  @Test("a second micro-batch is added to the first", arguments: [DType.float32, .bfloat16])
  func adds(slot: DType) throws {
    let counts: [Float] = [0, 2, 0, 1, 0, 3]
    let got = try gradient([5, 1, 5, 3, 1, 5], slot: slot, times: 2)
    #expect(got == counts.flatMap { [Float](repeating: 2 * $0, count: 3) })
  }

  @Test("a token seen 300 times counts 300 times: bf16 sums would stay at 256")
  func sumsInSinglePrecision() throws {
    let got = try gradient([Int32](repeating: 2, count: 300), slot: .bfloat16, times: 1)
    #expect(got[6..<9] == [300, 300, 300])
  }
}
