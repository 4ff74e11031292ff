import Parallel
import Support
import Synchronization

/// What a case found wrong on this rank.
struct CaseFailure: Error, CustomStringConvertible {
  let description: String
}

/// Options of a run.
struct CaseSetting: Sendable {
  var name = "collectives"
  var ranksPerNode: Int?
  var sharesMemory = true
  var wantsThreads = false
  var slot = SharedMemorySizes()
  var seeds = 6
  var largest = 40_000
}

/// The table of cases; every one runs on any number of ranks unless it says so.
enum Cases {
  typealias Body = @Sendable (MPIWorld, CaseSetting) throws -> Void

  static let table: [(name: String, what: String, body: Body)] = [
    (
      "collectives", "random calls give the bits of ThreadWorld and of a plain computation",
      collectives
    ),
    ("mesh", "sums over the groups of a mesh", mesh),
    ("agree", "the last rank fails, all throw its Fault", agree),
    ("mismatch", "ranks make different calls, all get COMM-002 (shared memory)", mismatch),
    ("double", "sums on a double of the group, by a thread, beside sums on the group", double),
    ("abort", "rank 1 aborts with 74", abort),
    ("leave", "the last rank exits with 65 while the others wait", leave),
    ("large", "all-gather of a large buffer comes in pieces", large),
    ("huge", "all-to-all of blocks above 2^31 bytes (needs 5 GB per rank)", huge),
    ("bench", "microseconds of all-reduce, ours and the library's", bench),
    ("bench-moves", "microseconds of the other collectives", benchMoves),
  ]

  static func collectives(_ world: MPIWorld, _ setting: CaseSetting) throws {
    for seed in 0..<UInt64(setting.seeds) {
      let script = Script(seed: seed, ranks: world.size, length: 30, largest: setting.largest)
      let mine = try script.run(on: world)
      let plain = script.reference(rank: world.rank)
      if let step = mine.indices.first(where: { mine[$0] != plain[$0] }) {
        throw CaseFailure(
          description: "seed \(seed) call \(step): not the plain result: \(script.calls[step])")
      }
      // Threads in this very process, none of which touches MPI.
      if world.rank == 0, world.size > 1, seed < 2 {
        let threads = try ThreadWorld.run(ranks: world.size) { try script.run(on: $0) }
        if threads[0] != mine {
          throw CaseFailure(description: "seed \(seed): threads and processes differ")
        }
      }
    }
  }

  static func mesh(_ world: MPIWorld, _ setting: CaseSetting) throws {
    let tp = world.size % 2 == 0 ? 2 : 1
    let mesh = try ProcessMesh(world: world, shape: MeshShape(tp: tp, ep: world.size))
    for kind in MeshGroup.allCases {
      let group = mesh[kind]
      let members = mesh.layout.partition(kind).first { $0.contains(world.rank) } ?? []
      guard group.size == members.count, members[group.rank] == world.rank else {
        throw CaseFailure(description: "\(kind.name): rank \(group.rank) of \(group.size)")
      }
      var sum: [Int64] = [Int64(1) << Int64(world.rank)]
      try sum.withUnsafeMutableBufferPointer { try group.allReduceSum($0) }
      let expected = members.reduce(Int64(0)) { $0 | Int64(1) << Int64($1) }
      if sum[0] != expected {
        throw CaseFailure(description: "\(kind.name): members \(sum[0]), not \(expected)")
      }
    }
    if world.rank == world.size - 1 { say("\(mesh)") }
  }

  static func agree(_ world: MPIWorld, _ setting: CaseSetting) throws {
    try world.agree(nil)
    let last = world.size - 1
    let mine = Fault(
      .badJSON, "string not closed", at: .file("rows.jsonl", line: 7), fix: "close it")
    do {
      try world.agree(world.rank == last ? mine : nil)
    } catch {
      guard error.code == .badJSON, error.code.exit == .badData, error.fix == mine.fix,
        error.message == "rows.jsonl:7: string not closed", case .rank(last, _)? = error.place
      else { throw CaseFailure(description: "another Fault arrived: \(error)") }
      return
    }
    throw CaseFailure(description: "no rank heard of the failure")
  }

  static func mismatch(_ world: MPIWorld, _ setting: CaseSetting) throws {
    var values = [Float](repeating: 1, count: world.rank == 0 ? 100_000 : 10)
    do {
      try values.withUnsafeMutableBufferPointer { buffer throws(Fault) in
        try world.allReduce(buffer, order: .adjacentFirst)
      }
    } catch {
      if error.code == .differentCalls || world.size == 1 { return }
      throw error
    }
    if world.size > 1 { throw CaseFailure(description: "the difference was not noticed") }
  }

  /// Where no double can be, all ranks must say so.
  static func double(_ world: MPIWorld, _ setting: CaseSetting) throws {
    let twin = try world.double(label: "twin")
    var found: [Int64] = [twin == nil ? 0 : 1]
    try found.withUnsafeMutableBufferPointer { try world.allReduceSum($0) }
    guard found[0] == 0 || found[0] == Int64(world.size) else {
      throw CaseFailure(description: "\(found[0]) of \(world.size) ranks have a double")
    }
    guard let twin else { return say("no double on rank \(world.rank)") }
    let thread = try CommunicationThread()
    let mine = Script(seed: 5, ranks: world.size, length: 30, largest: setting.largest)
    let theirs = Script(seed: 6, ranks: world.size, length: 30, largest: setting.largest)
    let beside = Mutex<[[UInt8]]>([])
    let call = thread.start(.allReduce, on: world, bytes: 0) { () throws(Fault) in
      let results = try theirs.run(on: twin)
      beside.withLock { $0 = results }
    }
    let results = try mine.run(on: world)
    try call.wait()
    guard results == mine.reference(rank: world.rank),
      beside.withLock({ $0 }) == theirs.reference(rank: world.rank)
    else { throw CaseFailure(description: "not the plain results") }
  }

  static func abort(_ world: MPIWorld, _ setting: CaseSetting) throws {
    if world.rank == min(1, world.size - 1) { MPIWorld.abort(.communication) }
    try world.barrier()
    try world.barrier()
  }

  static func leave(_ world: MPIWorld, _ setting: CaseSetting) throws {
    if world.rank == world.size - 1 { quit(.badData) }
    try world.barrier()
  }

  static func large(_ world: MPIWorld, _ setting: CaseSetting) throws {
    let count = 5_000_003
    let send = [UInt8](repeating: UInt8(world.rank + 1), count: count)
    var all = [UInt8](repeating: 0, count: count * world.size)
    try send.withUnsafeBytes { from in
      try all.withUnsafeMutableBytes { try world.allGather(from, into: $0) }
    }
    let sums = (0..<world.size).map { rank in
      all.withUnsafeBytes { all in
        let block = UnsafeRawBufferPointer(rebasing: all[rank * count..<(rank + 1) * count])
        return [0, count / 3, count / 2, count - 1].allSatisfy { block[$0] == UInt8(rank + 1) }
      }
    }
    if sums.contains(false) { throw CaseFailure(description: "blocks are wrong: \(sums)") }
  }
}
