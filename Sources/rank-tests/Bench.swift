import Parallel
import Support

extension Cases {
  /// Microseconds of all-reduce per size: shared memory (or what the world chose) and the library.
  static func bench(_ world: MPIWorld, _ setting: CaseSetting) throws {
    if world.rank == 0 {
      say("all-reduce f32, \(world.size) ranks, \(try world.transport()), µs: median (least)")
      say("bytes        ours                 MPI_Allreduce")
    } else {
      _ = try world.transport()
    }
    var bytes = 1 << 10
    while bytes <= 64 << 20 {
      let buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: bytes / 4)
      buffer.initialize(repeating: 0)
      defer { buffer.deallocate() }
      let repeats = max(5, min(200, (32 << 20) / bytes))
      let ours = try time(world, repeats) { () throws(Fault) in
        try world.allReduce(buffer, order: .adjacentFirst)
      }
      let library = try time(world, repeats) { () throws(Fault) in
        try world.libraryAllReduce(buffer)
      }
      if world.rank == 0 { say("\(pad("\(bytes)", 12)) \(pad(ours, 20)) \(library)") }
      bytes *= 4
    }
  }

  /// Microseconds of all-gather, all-to-all and reduce-scatter; size = bytes this rank gives.
  static func benchMoves(_ world: MPIWorld, _ setting: CaseSetting) throws {
    _ = try world.transport()
    if world.rank == 0 {
      say("\(world.size) ranks, µs: median (least)")
      say("bytes        all-gather           all-to-all           reduce-scatter")
    }
    var bytes = 1 << 10
    while bytes <= 64 << 20 {
      let send = UnsafeMutableBufferPointer<Float>.allocate(capacity: bytes / 4)
      let receive = UnsafeMutableBufferPointer<Float>.allocate(capacity: bytes / 4 * world.size)
      send.initialize(repeating: 1)
      receive.initialize(repeating: 0)
      defer {
        send.deallocate()
        receive.deallocate()
      }
      let repeats = max(5, min(200, (32 << 20) / bytes))
      let from = UnsafeRawBufferPointer(send)
      let to = UnsafeMutableRawBufferPointer(receive)
      let gather = try time(world, repeats) { () throws(Fault) in
        try world.allGather(from, into: to)
      }
      let counts = [Int](repeating: bytes / world.size, count: world.size)
      let even = counts.reduce(0, +)
      let exchange = try time(world, repeats) { () throws(Fault) in
        try world.allToAll(
          UnsafeRawBufferPointer(rebasing: from[..<even]), sendCounts: counts,
          into: UnsafeMutableRawBufferPointer(rebasing: to[..<even]), receiveCounts: counts)
      }
      let slice = bytes / 4 / world.size
      let scatter = try time(world, repeats) { () throws(Fault) in
        try world.reduceScatter(
          UnsafeBufferPointer(rebasing: send[..<(slice * world.size)]),
          into: UnsafeMutableBufferPointer(rebasing: receive[..<slice]), order: .adjacentFirst)
      }
      if world.rank == 0 {
        say("\(pad("\(bytes)", 12)) \(pad(gather, 20)) \(pad(exchange, 20)) \(scatter)")
      }
      bytes *= 4
    }
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  /// Median and least of the slowest rank's times.
  private static func time(
    _ world: MPIWorld, _ repeats: Int, _ body: () throws(Fault) -> Void
  ) throws -> String {
    let clock = ContinuousClock()
    try body()
    var times: [Int64] = []
    for _ in 0..<repeats {
      try world.barrier()
      let begin = clock.now
      try body()
      let spent = (clock.now - begin).components
      times.append(spent.seconds * 1_000_000_000 + spent.attoseconds / 1_000_000_000)
    }
    try times.withUnsafeMutableBufferPointer { try world.allReduceMax($0) }
    times.sort()
    func micro(_ nano: Int64) -> String {
      nano < 100_000 ? "\(Double(nano / 100) / 10)" : "\(nano / 1000)"
    }
    return "\(micro(times[times.count / 2])) (\(micro(times[0])))"
  }
}
