import Parallel
import Support

extension Script {
  /// Makes all calls on `world` and returns what this rank received in each.
  func run(on world: any Communicator) throws(Fault) -> [[UInt8]] {
    var results: [[UInt8]] = []
    for (step, call) in calls.enumerated() { results.append(try perform(call, step, on: world)) }
    return results
  }

  private func perform(
    _ call: Call, _ step: Int, on world: any Communicator
  ) throws(Fault) -> [UInt8] {
    let rank = world.rank
    switch call {
    case .barrier:
      try world.barrier()
      return []
    case .allReduce(let count, let order):
      return try inPlace(floats(step, rank: rank, count: count)) { buffer throws(Fault) in
        try world.allReduce(buffer, order: order)
      }
    case .reduceScatter(let count, let order):
      return try into(
        floats(step, rank: rank, count: count * world.size), [Float](repeating: 0, count: count)
      ) { send, receive throws(Fault) in
        try world.reduceScatter(send, into: receive, order: order)
      }
    case .allGather(let counts):
      let total = counts.reduce(0, +)
      return try into(
        bytes(step, rank: rank, count: counts[rank]), [UInt8](repeating: 0, count: total)
      ) { send, receive throws(Fault) in
        let (from, to) = (UnsafeRawBufferPointer(send), UnsafeMutableRawBufferPointer(receive))
        try world.allGather(from, into: to, counts: counts)
      }
    case .allToAll(let table):
      return try allToAll(table, step, on: world)
    case .broadcast(let count, let root):
      return try inPlace(bytes(step, rank: rank, count: count)) { buffer throws(Fault) in
        try world.broadcast(UnsafeMutableRawBufferPointer(buffer), from: root)
      }
    case .maxFloat(let count):
      return try inPlace(floats(step, rank: rank, count: count)) { buffer throws(Fault) in
        try world.allReduceMax(buffer)
      }
    case .maxInt(let count):
      return try inPlace(integers(step, rank: rank, count: count)) { buffer throws(Fault) in
        try world.allReduceMax(buffer)
      }
    case .sumInt(let count):
      return try inPlace(integers(step, rank: rank, count: count)) { buffer throws(Fault) in
        try world.allReduceSum(buffer)
      }
    }
  }

  private func allToAll(
    _ table: [[Int]], _ step: Int, on world: any Communicator
  ) throws(Fault) -> [UInt8] {
    let rank = world.rank
    let outgoing = table[rank]
    let incoming = table.map { $0[rank] }
    return try into(
      bytes(step, rank: rank, count: outgoing.reduce(0, +)),
      [UInt8](repeating: 0, count: incoming.reduce(0, +))
    ) { send, receive throws(Fault) in
      try world.allToAll(
        UnsafeRawBufferPointer(send), sendCounts: outgoing,
        into: UnsafeMutableRawBufferPointer(receive), receiveCounts: incoming)
    }
  }

  private func inPlace<T: BitwiseCopyable>(
    _ values: [T], _ body: (UnsafeMutableBufferPointer<T>) throws(Fault) -> Void
  ) throws(Fault) -> [UInt8] {
    var values = values
    try values.withUnsafeMutableBufferPointer { buffer throws(Fault) in try body(buffer) }
    return rawBytes(values)
  }

  private func into<T: BitwiseCopyable>(
    _ send: [T], _ receive: [T],
    _ body: (UnsafeBufferPointer<T>, UnsafeMutableBufferPointer<T>) throws(Fault) -> Void
  ) throws(Fault) -> [UInt8] {
    var received = receive
    try send.withUnsafeBufferPointer { from throws(Fault) in
      try received.withUnsafeMutableBufferPointer { to throws(Fault) in try body(from, to) }
    }
    return rawBytes(received)
  }
}

/// The memory of an array.
func rawBytes<T: BitwiseCopyable>(_ values: [T]) -> [UInt8] {
  values.withUnsafeBytes { [UInt8]($0) }
}
