import Foundation
import Parallel
import Support

/// What the first rank tells the loops of all ranks.
enum LoopCommand: Sendable, Codable {
  case submit(GenerationJob)
  case cancel(Int)
  case close
}

/// One loop over the ranks of a model: the first one decides, all make the same steps.
final class LoopDriver {
  private let loop: GenerationLoop
  private let world: any Communicator
  private(set) var isClosed = false

  init(_ loop: GenerationLoop, world: any Communicator) {
    self.loop = loop
    self.world = world
  }

  var isIdle: Bool { loop.isIdle }

  /// Follows the commands and makes one step, on all ranks.
  /// - Parameter commands: of the first rank; others give none.
  /// - Communication: broadcast of the commands.
  func turn(_ commands: [LoopCommand] = []) throws(Fault) -> [GenerationEvent] {
    for command in try agree(commands) {
      switch command {
      case .submit(let job): loop.submit(job)
      case .cancel(let id): loop.cancel(id)
      case .close: isClosed = true
      }
    }
    return isClosed ? [] : try loop.step()
  }

  /// The life of every rank but the first.
  func follow() throws(Fault) {
    while !isClosed { _ = try turn() }
  }

  private func agree(_ commands: [LoopCommand]) throws(Fault) -> [LoopCommand] {
    guard world.size > 1 else { return commands }
    var bytes: [UInt8] = []
    if world.rank == 0, !commands.isEmpty {
      do {
        bytes = Array(try JSONEncoder().encode(commands))
      } catch {
        throw Fault(.internalError, "commands cannot be written", cause: error)
      }
    }
    bytes = try world.broadcast(bytes: bytes)
    guard !bytes.isEmpty else { return [] }
    do {
      return try JSONDecoder().decode([LoopCommand].self, from: Data(bytes))
    } catch {
      throw Fault(.internalError, "commands cannot be read", cause: error)
    }
  }
}

extension Communicator {
  /// The bytes of the first rank on every rank.
  func broadcast(bytes: [UInt8]) throws(Fault) -> [UInt8] {
    guard size > 1 else { return bytes }
    var count = [Int64(bytes.count)]
    try broadcast(array: &count)
    guard count[0] > 0 else { return [] }
    var all = rank == 0 ? bytes : [UInt8](repeating: 0, count: Int(count[0]))
    try broadcast(array: &all)
    return all
  }

  private func broadcast<T: BitwiseCopyable>(array: inout [T]) throws(Fault) {
    try array.withUnsafeMutableBufferPointer { (p) throws(Fault) in
      try broadcast(UnsafeMutableRawBufferPointer(p), from: 0)
    }
  }

  /// The bytes of all ranks, on every rank.
  func gather(bytes: [UInt8]) throws(Fault) -> [[UInt8]] {
    guard size > 1 else { return [bytes] }
    let own = [Int64(bytes.count)]
    var counts = [Int64](repeating: 0, count: size)
    try own.withUnsafeBufferPointer { (send) throws(Fault) in
      try counts.withUnsafeMutableBufferPointer { (p) throws(Fault) in
        try allGather(UnsafeRawBufferPointer(send), into: UnsafeMutableRawBufferPointer(p))
      }
    }
    let sizes = counts.map { Int($0) }
    var all = [UInt8](repeating: 0, count: sizes.reduce(0, +))
    try bytes.withUnsafeBufferPointer { (send) throws(Fault) in
      try all.withUnsafeMutableBufferPointer { (p) throws(Fault) in
        try allGather(
          UnsafeRawBufferPointer(send), into: UnsafeMutableRawBufferPointer(p), counts: sizes)
      }
    }
    var at = 0
    return sizes.map { count in
      defer { at += count }
      return Array(all[at..<at + count])
    }
  }
}
