import Testing

/// Cases of `rank-tests` under mpirun, one after another: the machine may have two cores.
@Suite(
  "Ranks as processes", .serialized,
  .enabled(if: MPILauncher.isAvailable, "mpirun or rank-tests was not found"))
struct RankProcessTests {
  private func passes(_ ranks: Int, _ name: String, _ options: [String] = []) throws {
    let result = try MPILauncher.run(ranks: ranks, ["--case", name] + options)
    #expect(result.status == 0, "\(result.output)")
    #expect(result.output.contains("PASS \(name) on \(ranks) ranks"), "\(result.output)")
  }

  private static let short = ["--seeds", "1", "--largest", "4000"]

  @Test("shared memory gives the bits of threads and of a plain sum", arguments: [1, 2, 4])
  func sharedMemory(ranks: Int) throws { try passes(ranks, "collectives", Self.short) }

  @Test("messages give the same bits", arguments: [2, 3])
  func messages(ranks: Int) throws {
    try passes(ranks, "collectives", Self.short + ["--no-shared-memory"])
  }

  @Test("two nodes with two ranks each give the same bits")
  func twoNodes() throws {
    try passes(4, "collectives", Self.short + ["--ranks-per-node", "2"])
  }

  @Test("a double of a group is used beside it, in shared memory without the library")
  func double() throws { try passes(2, "double", Self.short) }

  @Test("messages need a library that takes several threads, else no rank has a double")
  func doubleOfMessages() throws {
    try passes(2, "double", Self.short + ["--no-shared-memory", "--threads"])
    try passes(4, "double", Self.short + ["--ranks-per-node", "2", "--threads"])
    try passes(2, "double", Self.short + ["--no-shared-memory"])
  }

  @Test("the groups of a two by two mesh are right")
  func mesh() throws { try passes(4, "mesh") }

  @Test("a Fault of one rank reaches all")
  func agree() throws { try passes(2, "agree") }

  @Test("different calls are found on every rank")
  func mismatch() throws { try passes(2, "mismatch") }

  @Test("a large buffer goes in pieces")
  func large() throws { try passes(2, "large") }

  @Test("abort ends the job with its code")
  func abort() throws {
    let result = try MPILauncher.run(ranks: 2, ["--case", "abort"])
    #expect(result.status == 74, "\(result.output)")
  }

  @Test("a rank that leaves ends the job with its code although the others wait")
  func leave() throws {
    let result = try MPILauncher.run(ranks: 2, ["--case", "leave"])
    #expect(result.status == 65, "\(result.output)")
  }
}
