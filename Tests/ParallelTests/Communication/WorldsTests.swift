import Parallel
import Support
import Testing

@testable import rank_tests

@Suite("All worlds give the bits of a plain computation")
struct WorldsTests {
  private func check(_ script: Script, _ options: ThreadWorld.Options = .init()) throws {
    let results = try ThreadWorld.run(ranks: script.ranks, options: options) { world in
      try script.run(on: world)
    }
    for rank in 0..<script.ranks {
      let plain = script.reference(rank: rank)
      for step in script.calls.indices where results[rank][step] != plain[step] {
        Issue.record("seed \(script.seed) rank \(rank) call \(step): \(script.calls[step])")
      }
    }
  }

  @Test("threads, random calls", arguments: 1...9, 0..<2)
  func threads(ranks: Int, seed: Int) throws {
    try check(Script(seed: UInt64(seed), ranks: ranks, length: 16, largest: 2000))
  }

  @Test("threads with slots so small that everything goes in pieces", arguments: 1...9)
  func smallSlots(ranks: Int) throws {
    var options = ThreadWorld.Options()
    options.sizes = SharedMemorySizes(initialSlot: 64, largestSlot: 64, small: 32)
    try check(Script(seed: 11, ranks: ranks, length: 16, largest: 2000), options)
  }

  @Test("threads with slots that grow on the way", arguments: 2...9)
  func growingSlots(ranks: Int) throws {
    var options = ThreadWorld.Options()
    options.sizes = SharedMemorySizes(initialSlot: 64, largestSlot: 4096, small: 256)
    try check(Script(seed: 12, ranks: ranks, length: 16, largest: 2000), options)
  }

  @Test("threads with messages of more than one slot of the usual size")
  func largeMessages() throws {
    let calls: [Call] = [
      .allReduce(count: 300_000, .adjacentFirst), .reduceScatter(count: 100_000, .distantFirst),
    ]
    try check(Script(seed: 13, ranks: 3, calls: calls))
  }

  @Test("a world of one", arguments: 0..<4)
  func alone(seed: Int) throws {
    let script = Script(seed: UInt64(seed), ranks: 1, length: 24, largest: 300)
    #expect(try script.run(on: SelfWorld()) == script.reference(rank: 0))
  }

  @Test("a maximum is NaN if one value is, wherever it is", arguments: 0..<5)
  func maximumSeesNaN(holder: Int) throws {
    let results = try ThreadWorld.run(ranks: 5) { world in
      var values: [Float] = [Float(world.rank), world.rank == holder ? .nan : 9, -1]
      try values.withUnsafeMutableBufferPointer { try world.allReduceMax($0) }
      return values
    }
    for values in results {
      #expect(values[0] == 4)
      #expect(values[1].isNaN)
      #expect(values[2] == -1)
    }
  }
}
