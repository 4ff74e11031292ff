import Parallel
import Support
import Testing

@Suite("A planned rank")
struct PlanWorldTests {
  @Test("calls and bytes are counted per group and kind")
  func counts() throws {
    let world = try PlanWorld(rank: 1, size: 4)
    var values = [Float](repeating: 1, count: 8)
    var slice = [Float](repeating: 0, count: 2)
    try values.withUnsafeMutableBufferPointer { buffer in
      try world.allReduce(buffer, order: .adjacentFirst)
      try world.allReduce(buffer, order: .distantFirst)
    }
    try values.withUnsafeBufferPointer { from in
      try slice.withUnsafeMutableBufferPointer {
        try world.reduceScatter(from, into: $0, order: .adjacentFirst)
      }
    }
    let pair = try world.split(groups: [[0, 1], [2, 3]], label: "pair")
    try pair.barrier()
    let rows = world.counter.rows
    #expect(rows.map(\.label) == ["world", "world", "pair"])
    #expect(rows.map(\.kind) == [.allReduce, .reduceScatter, .barrier])
    #expect(rows.map(\.size) == [4, 4, 2])
    #expect(rows.map(\.calls) == [2, 1, 1])
    #expect(rows.map(\.payload) == [64, 32, 0])
    #expect(rows.map(\.sent) == [96, 24, 0])
  }

  @Test("own blocks are kept and the peers' are zero")
  func placeholders() throws {
    let world = try PlanWorld(rank: 1, size: 3)
    var gathered = [UInt8](repeating: 9, count: 6)
    try [UInt8(7), 8].withUnsafeBytes { from in
      try gathered.withUnsafeMutableBytes { try world.allGather(from, into: $0) }
    }
    #expect(gathered == [0, 0, 7, 8, 0, 0])
    var received = [UInt8](repeating: 9, count: 4)
    try [UInt8(1), 2, 3, 4, 5].withUnsafeBytes { from in
      try received.withUnsafeMutableBytes {
        try world.allToAll(from, sendCounts: [2, 1, 2], into: $0, receiveCounts: [1, 1, 2])
      }
    }
    #expect(received == [0, 3, 0, 0])
  }

  @Test("colors of peers cannot be known")
  func refusesColors() throws {
    let world = try PlanWorld(rank: 0, size: 2)
    let fault = #expect(throws: Fault.self) {
      try world.split(color: 0, key: 0, label: "part")
    }
    #expect(fault?.code == .badCall)
  }

  @Test("a rank outside its world is refused", arguments: [(2, 2), (-1, 2), (0, 0)])
  func refusesBadRank(rank: Int, size: Int) {
    #expect(throws: Fault.self) { try PlanWorld(rank: rank, size: size) }
  }
}
