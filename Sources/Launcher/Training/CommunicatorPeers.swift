import DataPipeline
import Parallel
import Support

/// The ranks of a communicator as the data pipeline sees them.
struct CommunicatorPeers: RankPeers {
  let group: any Communicator
  let leadsNode: Bool

  var rank: Int { group.rank }
  var size: Int { group.size }

  /// - Communication: two gathers.
  func gather(_ bytes: [UInt8]) throws(Fault) -> [[UInt8]] {
    var counts = [Int64](repeating: 0, count: size)
    try allGather([Int64(bytes.count)], into: &counts, sizes: nil)
    let sizes = counts.map { Int($0) }
    var all = [UInt8](repeating: 0, count: sizes.reduce(0, +))
    try allGather(bytes, into: &all, sizes: sizes)
    var at = 0
    return sizes.map { count in
      defer { at += count }
      return Array(all[at..<at + count])
    }
  }

  /// - Communication: a broadcast of two numbers and one of the bytes.
  func share(from root: Int, _ make: () throws(Fault) -> [UInt8]) throws(Fault) -> [UInt8] {
    var bytes: [UInt8] = []
    var fault: Fault?
    if rank == root {
      do throws(Fault) { bytes = try make() } catch { fault = error }
    }
    var header = [Int64(fault == nil ? 0 : 1), Int64(bytes.count)]
    try broadcast(&header, from: root)
    if header[0] != 0 {
      try group.agree(fault)
      throw Fault(.internalError, "a fault of a peer was not told")
    }
    if rank != root { bytes = [UInt8](repeating: 0, count: Int(header[1])) }
    if !bytes.isEmpty { try broadcast(&bytes, from: root) }
    return bytes
  }

  func agree(_ fault: Fault?) throws(Fault) { try group.agree(fault) }

  private func allGather<T: BitwiseCopyable>(
    _ own: [T], into all: inout [T], sizes: [Int]?
  ) throws(Fault) {
    try all.withUnsafeMutableBufferPointer { (all) throws(Fault) in
      try own.withUnsafeBufferPointer { (own) throws(Fault) in
        let (from, to) = (UnsafeRawBufferPointer(own), UnsafeMutableRawBufferPointer(all))
        if let sizes {
          try group.allGather(from, into: to, counts: sizes)
        } else {
          try group.allGather(from, into: to)
        }
      }
    }
  }

  private func broadcast<T: BitwiseCopyable>(
    _ values: inout [T], from root: Int
  ) throws(Fault) {
    try values.withUnsafeMutableBufferPointer { (buffer) throws(Fault) in
      try group.broadcast(UnsafeMutableRawBufferPointer(buffer), from: root)
    }
  }
}
