import Parallel
import Support

/// Collectives of all ranks: seconds of the slowest rank, bytes that this rank gives.
struct CollectiveBench {
  let bench: BenchContext
  init(_ bench: BenchContext) { self.bench = bench }

  /// - Throws: `OPT-103` with one rank.
  func run() throws(Fault) {
    guard bench.world.size > 1 else {
      throw Fault(
        .optionsDisagree, "collectives need at least two ranks", at: .flag("kinds"),
        fix: "mpirun -n 2 megatron-bench collectives")
    }
    for bytes in [4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20] { try measure(bytes) }
  }

  private func measure(_ bytes: Int) throws(Fault) {
    let world = bench.world
    let slice = bytes / 4 / world.size
    let count = slice * world.size
    let send = UnsafeMutableBufferPointer<Float>.allocate(capacity: count)
    let receive = UnsafeMutableBufferPointer<Float>.allocate(capacity: count * world.size)
    send.initialize(repeating: 1)
    receive.initialize(repeating: 0)
    defer {
      send.deallocate()
      receive.deallocate()
    }
    let given = UnsafeRawBufferPointer(send)
    let own = UnsafeMutableRawBufferPointer(
      rebasing: UnsafeMutableRawBufferPointer(receive)[..<given.count])
    let counts = [Int](repeating: given.count / world.size, count: world.size)
    try say("all_reduce", given.count) { () throws(Fault) in
      try world.allReduce(send, order: .adjacentFirst)
    }
    try say("all_gather", given.count) { () throws(Fault) in
      try world.allGather(given, into: UnsafeMutableRawBufferPointer(receive))
    }
    try say("reduce_scatter", given.count) { () throws(Fault) in
      try world.reduceScatter(
        UnsafeBufferPointer(send),
        into: UnsafeMutableBufferPointer(rebasing: receive[..<slice]), order: .adjacentFirst)
    }
    try say("all_to_all", given.count) { () throws(Fault) in
      try world.allToAll(given, sendCounts: counts, into: own, receiveCounts: counts)
    }
  }

  /// All ranks make the same number of calls: it follows from the size alone.
  private func say(_ name: String, _ bytes: Int, _ body: () throws(Fault) -> Void) throws(Fault) {
    let repeats = max(bench.options.bench.repeats, min(100, (64 << 20) / bytes))
    var nanoseconds: [Int64] = []
    try body()
    for _ in 0..<repeats {
      try bench.world.barrier()
      let begin = Clock.monotonicSeconds()
      try body()
      nanoseconds.append(Int64((Clock.monotonicSeconds() - begin) * 1e9))
    }
    var fault: Fault?
    nanoseconds.withUnsafeMutableBufferPointer {
      do throws(Fault) { try bench.world.allReduceMax($0) } catch { fault = error }
    }
    if let fault { throw fault }
    let timing = Timing(nanoseconds.map { Double($0) * 1e-9 })
    let shape = JSONObject([("bytes", JSONValue(bytes))])
    try bench.say("collectives", name, .float32, shape, timing, bytes: Double(bytes))
  }
}
