import Testing

@testable import DataPipeline
@testable import Support

@Suite struct DataOrder {
  @Test("A stream within a buffer comes in numpy's order")
  func shuffleBuffer() {
    var buffer = ShuffleBuffer<Int>(capacity: 4, seed: 3)
    var source = (0..<10).makeIterator()
    var order: [Int] = []
    while let row = buffer.next({ source.next() }) { order.append(row) }
    // numpy 2.4, default_rng(3), with the buffer rule of datasets.
    #expect(order == [3, 0, 5, 6, 7, 4, 2, 8, 9, 1])
  }

  @Test("A stream shorter than its buffer is shuffled as a list")
  func shortBuffer() {
    var buffer = ShuffleBuffer<Int>(capacity: 4, seed: 3)
    var source = (0..<3).makeIterator()
    var order: [Int] = []
    while let row = buffer.next({ source.next() }) { order.append(row) }
    #expect(order == [2, 1, 0])
  }

  @Test("Bounded whole numbers and doubles equal default_rng's")
  func generator() {
    var integers = RandomGenerator(seed: 5)
    #expect((0..<6).map { _ in integers.integer(below: 1000) } == [670, 805, 22, 807, 468, 515])
    var doubles = RandomGenerator(seed: 5)
    #expect(abs(doubles.uniform() - 0.8050029237453802) < 1e-15)
  }

  @Test("Training and validation never share a row, whatever the ratio and count")
  func disjoint() throws {
    for (size, count, ratio) in [
      (10, nil as Int?, 0.3), (10, 25, 0.2), (7, 5, 0.5), (2, nil, 0.01),
    ] {
      var options = OrderOptions()
      options.splitRatio = ratio
      let plan = try OrderPlan(sizes: [size], counts: [count], options: options)
      let train = Set(plan.train.map(\.row))
      let validation = Set(plan.validation.map(\.row))
      #expect(train.isDisjoint(with: validation))
      #expect(plan.train.count + plan.validation.count == count ?? size)
    }
  }

  @Test("A count that repeats rows is told to the user")
  func repeats() throws {
    let plan = try OrderPlan(sizes: [10], counts: [25], options: OrderOptions())
    #expect(plan.notes == ["data set 1: 25 rows are asked of 10; rows repeat"])
  }

  @Test("Impossible splits and chances are refused with their flag")
  func refused() {
    func code(_ change: (inout OrderOptions) -> Void, sizes: [Int] = [4, 4], counts: [Int?] = [])
      -> FaultCode?
    {
      var options = OrderOptions()
      change(&options)
      do throws(Fault) {
        _ = try OrderPlan(sizes: sizes, counts: counts, options: options)
        return nil
      } catch { return error.code }
    }
    #expect(code { $0.splitRatio = 1.5 } == .badSplit)
    #expect(code({ $0.splitRatio = 0.5 }, sizes: [1]) == .badSplit)
    #expect(code({ $0.splitRatio = 1 }, sizes: [4], counts: [5]) == .badSplit)
    #expect(code { $0.interleave = [0.5] } == .badInterleave)
    #expect(code { $0.interleave = [0.5, 0.6] } == .badInterleave)
    #expect(code { $0.interleave = [1.5, -0.5] } == .badInterleave)
    #expect(
      code {
        $0.interleave = [1, 0]
        $0.stopping = .allExhausted
      } == .badInterleave)
  }
}
