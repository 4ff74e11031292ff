import Parallel
import Support
import Synchronization
import Testing

@Suite("Collectives beside the thread of a rank", .timeLimit(.minutes(2)))
struct CommunicationThreadTests {
  /// A float of the heap, so that a call that is under way has memory of its own.
  private final class Cell: @unchecked Sendable {
    let values: UnsafeMutableBufferPointer<Float>
    init(_ count: Int, _ value: Float) {
      values = .allocate(capacity: count)
      values.initialize(repeating: value)
    }
    deinit { values.deallocate() }
  }

  private func sum(
    _ value: Float, count: Int, on twin: any Communicator, by thread: CommunicationThread,
    of group: any Communicator
  ) -> (cell: Cell, call: PendingCall) {
    let cell = Cell(count, value)
    let call = thread.start(.allReduce, on: group, bytes: count * 4) { () throws(Fault) in
      try twin.allReduce(cell.values, order: .adjacentFirst)
    }
    return (cell, call)
  }

  @Test("Calls on a double mix with calls on the group and with nothing else", arguments: 1...4)
  func beside(ranks: Int) throws {
    let sums = try ThreadWorld.run(ranks: ranks) { world in
      let twin = try #require(try world.double(label: "twin"))
      let thread = try CommunicationThread()
      let first = sum(Float(world.rank), count: 70_000, on: twin, by: thread, of: world)
      let second = sum(10, count: 3, on: twin, by: thread, of: world)
      var own: [Float] = [1]
      for _ in 0..<5 {
        try own.withUnsafeMutableBufferPointer { try world.allReduce($0, order: .adjacentFirst) }
      }
      try second.call.wait()
      try first.call.wait()
      return [first.cell.values[69_999], second.cell.values[0], own[0]]
    }
    let n = Float(ranks)
    for row in sums { #expect(row == [n * (n - 1) / 2, 10 * n, n * n * n * n * n]) }
  }

  @Test("A fault of a call is thrown by whoever waits, each time, and later calls are not made")
  func faults() throws {
    let thread = try CommunicationThread()
    let world = SelfWorld()
    let isMade = Atomic(false)
    let bad = thread.start(.allReduce, on: world, bytes: 0) { () throws(Fault) in
      throw Fault(.badJSON, "broken")
    }
    let later = thread.start(.allReduce, on: world, bytes: 0) { () throws(Fault) in
      isMade.store(true, ordering: .relaxed)
    }
    for call in [bad, bad, later] {
      let fault = #expect(throws: Fault.self) { try call.wait() }
      #expect(fault?.code == .badJSON)
    }
    let wasMade = isMade.load(ordering: .relaxed)
    #expect(!wasMade)
  }

  @Test("A rank that leaves releases a call that waits for it")
  func leaving() throws {
    let outcomes = try ThreadWorld.outcomes(ranks: 3) { world in
      let twin = try #require(try world.double(label: "twin"))
      guard world.rank != 1 else { throw Fault(.badJSON, "broken") }
      let thread = try CommunicationThread()
      try sum(1, count: 8, on: twin, by: thread, of: world).call.wait()
    }
    let codes = outcomes.map { outcome -> FaultCode? in
      guard case .failure(let error) = outcome else { return nil }
      return (error as? Fault)?.code
    }
    #expect(codes == [.rankLeft, .badJSON, .rankLeft])
  }

  @Test("A call that has not begun when the thread goes ends in a fault, not in a wait for ever")
  func abandoned() throws {
    let gate = Mutex(())
    var thread: CommunicationThread? = try CommunicationThread()
    let world = SelfWorld()
    var later: PendingCall?
    gate.withLock { _ in
      _ = thread?.start(.barrier, on: world, bytes: 0) { () throws(Fault) in gate.withLock { _ in }
      }
      later = thread?.start(.barrier, on: world, bytes: 0) { () throws(Fault) in }
      thread = nil
    }
    #expect(throws: Fault.self) { try later?.wait() }
  }

  @Test("The log of the rank shows the call that is waited for")
  func log() throws {
    let thread = try CommunicationThread()
    let world = SelfWorld(label: "alone")
    let log = world.log
    // Ends when the log shows that somebody waits.
    let call = thread.start(.allReduce, on: world, bytes: 12) { () throws(Fault) in
      while log.recent.last?.isDone ?? true { Pause.seconds(1e-3) }
    }
    try call.wait()
    let last = try #require(log.recent.last)
    #expect(last.label == "alone" && last.kind == .allReduce && last.bytes == 12 && last.isDone)
    #expect(call.waitedSeconds > 0)
  }

  @Test("A planned rank counts the calls on a double")
  func planned() throws {
    let world = try PlanWorld(rank: 0, size: 4)
    let twin = try #require(try world.double(label: "twin"))
    let cell = Cell(16, 1)
    try twin.allReduce(cell.values, order: .distantFirst)
    #expect(world.counter.rows.map(\.label) == ["twin"])
  }
}
