import Parallel
import Testing

@testable import rank_tests

@Suite("Sums along the tree")
struct TreeSumTests {
  private func sum(_ rows: [[Float]], _ order: TreeOrder) -> [Float] {
    let count = rows[0].count
    let flat = rows.flatMap { $0 }
    var out = [Float](repeating: 0, count: count)
    flat.withUnsafeBufferPointer { flat in
      out.withUnsafeMutableBufferPointer { out in
        guard let base = flat.baseAddress, let to = out.baseAddress else { return }
        order.sum(rows.indices.map { base + $0 * count }, into: to, count: count)
      }
    }
    return out
  }

  @Test(
    "one to nine and more summands, all lengths around a vector",
    arguments: [
      1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 32,
    ])
  func equalsPlainRecursion(ranks: Int) {
    for count in [1, 2, 15, 16, 17, 63, 1000, 1024, 1025, 2050] {
      let script = Script(seed: UInt64(count), ranks: ranks, calls: [])
      let rows = (0..<ranks).map { script.floats(0, rank: $0, count: count) }
      for order in [TreeOrder.adjacentFirst, .distantFirst] {
        #expect(rawBytes(sum(rows, order)) == rawBytes(treeSum(rows, order)))
      }
    }
  }

  @Test("the two orders differ for four summands and are the stated ones")
  func ordersAreTheStatedOnes() {
    // Adding 1 to 2²⁴ is lost, adding 2 is not.
    let big: Float = 16_777_216
    let rows: [[Float]] = [[big], [1], [-big], [1]]
    #expect(sum(rows, .adjacentFirst) == [(big + 1) + (-big + 1)])
    #expect(sum(rows, .distantFirst) == [(big - big) + (1 + 1)])
    #expect(sum(rows, .adjacentFirst) != sum(rows, .distantFirst))
  }

  @Test("the sum may replace one of its summands", arguments: 1...9)
  func worksInPlace(ranks: Int) {
    let script = Script(seed: 7, ranks: ranks, calls: [])
    let count = 1500
    let rows = (0..<ranks).map { script.floats(0, rank: $0, count: count) }
    for order in [TreeOrder.adjacentFirst, .distantFirst] {
      for place in rows.indices {
        var flat = rows.flatMap { $0 }
        flat.withUnsafeMutableBufferPointer { flat in
          guard let base = flat.baseAddress else { return }
          order.sum(
            rows.indices.map { UnsafePointer(base + $0 * count) }, into: base + place * count,
            count: count)
        }
        let result = Array(flat[place * count..<(place + 1) * count])
        #expect(rawBytes(result) == rawBytes(treeSum(rows, order)))
      }
    }
  }
}
