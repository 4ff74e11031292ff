import Support
import Testing

@testable import Parallel

@Suite("Agreement points")
struct AgreementTests {
  @Test("without a failure nobody throws", arguments: 1...4)
  func allWell(ranks: Int) throws {
    let done = try ThreadWorld.run(ranks: ranks) { world in
      try world.agree(nil)
      return true
    }
    #expect(done == [Bool](repeating: true, count: ranks))
  }

  @Test("all ranks throw the Fault of the lowest failing rank", arguments: 1...5)
  func lowestWins(ranks: Int) throws {
    let lowest = ranks / 2
    let outcomes = try ThreadWorld.outcomes(ranks: ranks) { world in
      var fault: Fault?
      if world.rank >= lowest {
        fault = Fault(
          .badJSON, "row of rank \(world.rank)", at: .file("a.jsonl", line: 3),
          expected: "an object", found: "ümlaut \u{1F600}", fix: "mend it")
        fault?.cause = "the cause"
      }
      try world.agree(fault)
    }
    for outcome in outcomes {
      let fault = #expect(throws: Fault.self) { try outcome.get() }
      #expect(fault?.code == .badJSON)
      #expect(fault?.code.title == FaultCode.badJSON.title)
      #expect(fault?.code.exit == .badData)
      #expect(fault?.message == "a.jsonl:3: row of rank \(lowest)")
      #expect(fault?.expected == "an object")
      #expect(fault?.found == "ümlaut \u{1F600}")
      #expect(fault?.fix == "mend it")
      #expect(fault?.cause == "the cause")
      #expect(fault?.place == .rank(lowest, host: FaultWire.hostName()))
    }
  }

  @Test("absent parts stay absent")
  func absentParts() {
    let fault = FaultWire.decode(FaultWire.encode(Fault(.badJSON, "")), rank: 2)
    #expect(fault.message == "")
    #expect(fault.expected == nil)
    #expect(fault.fix == nil)
    #expect(fault.cause == nil)
  }

  @Test("a damaged message never traps", arguments: 0..<40)
  func damaged(seed: Int) {
    var bytes = FaultWire.encode(Fault(.badJSON, "text", expected: "more"))
    bytes[(seed * 7) % bytes.count] ^= 0xFF
    _ = FaultWire.decode(bytes, rank: 0)
    let cut = FaultWire.decode(Array(bytes.prefix(seed)), rank: 1)
    #expect(cut.code == .communication)
  }
}
