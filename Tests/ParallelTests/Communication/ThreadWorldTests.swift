import Parallel
import Support
import Testing

@Suite("Ranks as threads", .timeLimit(.minutes(2)))
struct ThreadWorldTests {
  private func codes<T>(_ outcomes: [Result<T, any Error>]) -> [FaultCode?] {
    outcomes.map { outcome in
      if case .failure(let error) = outcome { return (error as? Fault)?.code }
      return nil
    }
  }

  @Test("a rank that throws releases those that wait", arguments: 2...5)
  func throwingRankReleases(ranks: Int) throws {
    let outcomes = try ThreadWorld.outcomes(ranks: ranks) { world in
      if world.rank == 1 { throw Fault(.badJSON, "broken") }
      try world.barrier()
    }
    for (rank, code) in codes(outcomes).enumerated() {
      #expect(code == (rank == 1 ? .badJSON : .rankLeft))
    }
  }

  @Test("a run throws the failure and not its consequence")
  func runThrowsTheCause() {
    let fault = #expect(throws: Fault.self) {
      try ThreadWorld.run(ranks: 4) { world in
        if world.rank == 3 { throw Fault(.badJSON, "broken") }
        try world.barrier()
      }
    }
    #expect(fault?.code == .badJSON)
  }

  @Test("a rank that returns too early releases those that wait")
  func earlyReturnReleases() throws {
    let outcomes = try ThreadWorld.outcomes(ranks: 3) { world in
      try world.barrier()
      if world.rank != 0 { try world.barrier() }
    }
    #expect(codes(outcomes) == [nil, .rankLeft, .rankLeft])
  }

  @Test("a failure releases those that wait in a part of the world")
  func releasesInSplitGroups() throws {
    let outcomes = try ThreadWorld.outcomes(ranks: 4) { world in
      let pair = try world.split(color: world.rank / 2, key: 0, label: "pair")
      if world.rank == 3 { throw Fault(.badJSON, "broken") }
      try pair.barrier()
    }
    #expect(codes(outcomes) == [nil, nil, .rankLeft, .badJSON])
  }

  @Test("different calls are found on every rank before data is used", arguments: 0..<4)
  func differentCalls(kind: Int) throws {
    let outcomes = try ThreadWorld.outcomes(ranks: 3) { world in
      var values = [Float](repeating: 0, count: 12)
      let odd = world.rank == 2
      try values.withUnsafeMutableBufferPointer { buffer in
        switch kind {
        case 0: try odd ? world.barrier() : world.allReduce(buffer, order: .adjacentFirst)
        case 1: try world.allReduce(buffer, order: odd ? .distantFirst : .adjacentFirst)
        case 2:
          let part = UnsafeMutableRawBufferPointer(
            rebasing: UnsafeMutableRawBufferPointer(buffer)[..<(odd ? 4 : 8)])
          try world.broadcast(part, from: 0)
        default: try world.broadcast(UnsafeMutableRawBufferPointer(buffer), from: odd ? 1 : 0)
        }
      }
    }
    #expect(codes(outcomes) == [.differentCalls, .differentCalls, .differentCalls])
  }

  @Test("a large call beside a small one is found on every rank")
  func differentSizes() throws {
    let outcomes = try ThreadWorld.outcomes(ranks: 2) { world in
      var values = [Float](repeating: 0, count: world.rank == 0 ? 300_000 : 4)
      try values.withUnsafeMutableBufferPointer { try world.allReduce($0, order: .adjacentFirst) }
    }
    #expect(codes(outcomes) == [.differentCalls, .differentCalls])
  }

  @Test("a pair that disagrees about a block is found on every rank")
  func differentBlocks() throws {
    let outcomes = try ThreadWorld.outcomes(ranks: 3) { world in
      let send = [UInt8](repeating: 0, count: world.rank == 0 ? 4 : 3)
      var receive = [UInt8](repeating: 0, count: 3)
      try send.withUnsafeBytes { from in
        try receive.withUnsafeMutableBytes { to in
          try world.allToAll(
            from, sendCounts: world.rank == 0 ? [1, 1, 2] : [1, 1, 1], into: to,
            receiveCounts: [1, 1, 1])
        }
      }
    }
    #expect(codes(outcomes) == [.differentCalls, .differentCalls, .differentCalls])
  }

  @Test("a rank that does not come in time is told")
  func lateRank() throws {
    var options = ThreadWorld.Options()
    options.timeout = 100
    let outcomes = try ThreadWorld.outcomes(ranks: 2, options: options) { world in
      let other = try world.split(groups: [[0, 1]], label: "other")
      // Each waits in another group: no rank has left, so only time can tell.
      try world.rank == 0 ? world.barrier() : other.barrier()
    }
    #expect(codes(outcomes).contains(.rankLate))
    #expect(!codes(outcomes).contains(nil))
  }

  @Test("a split orders its members by key, then rank")
  func splitOrders() throws {
    let places = try ThreadWorld.run(ranks: 6) { world in
      let part = try world.split(color: world.rank % 2, key: -world.rank, label: "part")
      return [part.rank, part.size]
    }
    #expect(places == [[2, 3], [2, 3], [1, 3], [1, 3], [0, 3], [0, 3]])
  }

  @Test("a split by groups refuses what is no partition")
  func splitRefuses() throws {
    for groups in [[[0, 1]], [[0, 1], [1, 2]], [[0, 1, 2, 3]], [[0], [2]]] {
      let outcomes = try ThreadWorld.outcomes(ranks: 3) { world in
        try world.split(groups: groups, label: "part").size
      }
      #expect(codes(outcomes) == [.badCall, .badCall, .badCall])
    }
  }

  @Test("buffers that do not fit are refused")
  func refusesBadBuffers() throws {
    let outcomes = try ThreadWorld.outcomes(ranks: 2) { world in
      let send = [UInt8](repeating: 0, count: 4)
      var receive = [UInt8](repeating: 0, count: 7)
      try send.withUnsafeBytes { from in
        try receive.withUnsafeMutableBytes { try world.allGather(from, into: $0) }
      }
    }
    #expect(codes(outcomes) == [.badCall, .badCall])
  }

  @Test("the log keeps the last 64 calls and shows the open one")
  func logShowsOpenCall() throws {
    let entries = try ThreadWorld.run(ranks: 2) { world -> [OperationLog.Entry] in
      for _ in 0..<99 { try world.barrier() }
      if world.rank == 1 { return [] }
      _ = try? world.barrier()
      return (world as? GroupWorld)?.log.recent ?? []
    }[0]
    #expect(entries.count == 64)
    #expect(entries.map(\.number) == Array(37...100))
    #expect(entries.last?.isDone == false)
    #expect(entries.dropLast().filter { !$0.isDone }.isEmpty)
  }

  @Test("a world without ranks is refused")
  func refusesEmptyWorld() {
    let fault = #expect(throws: Fault.self) { try ThreadWorld.run(ranks: 0) { $0.rank } }
    #expect(fault?.code == .badCall)
  }
}
