import Testing

@testable import Parallel

@Suite("Which groups can be summed node by node")
struct NodesTests {
  @Test(
    "equally many neighbours per node, a power of two",
    arguments: [
      ([0, 0, 1, 1], 2), ([5, 5, 3, 3, 9, 9], 2), ([0, 0, 0, 0, 1, 1, 1, 1], 4),
    ])
  func regular(nodeOf: [Int], width: Int) {
    #expect(NodesExchange.width(of: nodeOf) == width)
  }

  @Test(
    "all others go by messages",
    arguments: [
      [], [0], [0, 1, 2], [0, 1, 0, 1], [0, 0, 1], [0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1],
      [0, 0, 1, 2], [0, 1, 1, 0],
    ])
  func irregular(nodeOf: [Int]) {
    #expect(NodesExchange.width(of: nodeOf) == nil)
  }
}
