import Foundation
import Parallel
import Support
import Synchronization
import Tensor
import Testing

@testable import Optim

/// A folder that goes with the test.
private final class ScratchFolder {
  let path: String
  init() throws {
    path = NSTemporaryDirectory() + "/optim-tests-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
  var entries: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] }
}

private func options(_ first: StateType, _ second: StateType) -> OptimizerOptions {
  var options = OptimizerOptions()
  options.isPrecisionAware = true
  options.firstMomentType = first
  options.secondMomentType = second
  return options
}

@Suite struct OffloadTests {
  @Test(
    "Any fraction in a file gives the bits of none, in every state type",
    arguments: [
      (StateType.float32, StateType.float32), (.bfloat16, .float16), (.float8, .float8),
    ], [0.0, 0.3, 1.0])
  func sameBits(types: (StateType, StateType), fraction: Double) throws {
    let folder = try ScratchFolder()
    var rig = TrainingRig()
    rig.dtype = .bfloat16
    rig.ranks = 2
    rig.options = options(types.0, types.1)
    let near = try rig.run()
    rig.options.offload = OffloadOptions(fraction: fraction, tier: .folder(folder.path))
    let far = try rig.run()
    #expect(far.map { $0.weights.map(bits) } == near.map { $0.weights.map(bits) })
    #expect(far.wholeStates.mapValues(bits) == near.wholeStates.mapValues(bits))
    #expect((far[0].bytes.far > 0) == (fraction > 0))
    #expect(folder.entries.isEmpty)
  }

  @Test("Tensors longer than a streamed block, an fp16 master and read-ahead keep the bits")
  func longTensors() throws {
    let folder = try ScratchFolder()
    var rig = TrainingRig()
    // Nine blocks and a rest, more than the stream has slots.
    rig.shapes = [[9 * 64 + 7], [9, 5], [64]]
    rig.experts = []
    rig.dtype = .bfloat16
    rig.microBatches = 1
    rig.steps = 2
    rig.options = options(.float16, .float8)
    rig.options.mainParameterType = .float16
    let near = try rig.run()
    var offload = OffloadOptions(fraction: 0.5, tier: .folder(folder.path))
    offload.blockElements = 64
    rig.options.offload = offload
    let far = try rig.run()
    #expect(far[0].weights.map(bits) == near[0].weights.map(bits))
    #expect(far.wholeStates.mapValues(bits) == near.wholeStates.mapValues(bits))
    #expect(far[0].bytes.far >= 10 * OffloadFile.alignment)
  }

  @Test("Whole shards go far in order until the fraction is reached")
  func fraction() {
    #expect(OffloadOptions.farCount([10, 10, 10], fraction: 0) == 0)
    #expect(OffloadOptions.farCount([10, 10, 10], fraction: 0.1) == 1)
    #expect(OffloadOptions.farCount([10, 10, 10], fraction: 0.34) == 2)
    #expect(OffloadOptions.farCount([10, 10, 10], fraction: 1) == 3)
    #expect(OffloadOptions.farCount([], fraction: 1) == 0)
  }

  @Test("A folder that is not there is refused with its path")
  func missingFolder() throws {
    var rig = TrainingRig()
    rig.options = options(.float32, .float32)
    rig.options.offload = OffloadOptions(tier: .folder("/nowhere/at/all"))
    let fault = #expect(throws: Fault.self) {
      _ = try rig.makeOptimizer(SelfWorld(), try Engine())
    }
    #expect(fault?.code == .offloadUnavailable)
    let place = fault?.place?.description ?? ""
    #expect(place.hasPrefix("/nowhere/at/all"))
  }

  @Test("A disk without room is found before training")
  func fullDisk() throws {
    let folder = try ScratchFolder()
    let fault = #expect(throws: Fault.self) {
      _ = try OffloadFile(in: folder.path, byteCount: 1 << 60, rank: 0)
    }
    #expect(fault?.code == .offloadFailed && fault?.code.exit == .cannotWrite)
    #expect(folder.entries.isEmpty)
  }

  /// Blocks of a file that fails as `prepare` makes it.
  private func failingRun(writable: Bool, length: Int) throws -> (fault: Fault?, visited: Int) {
    let folder = try ScratchFolder()
    let path = folder.path + "/state"
    try Data(count: length).write(to: URL(fileURLWithPath: path))
    let descriptor = open(path, writable ? O_RDWR : O_RDONLY)
    try #require(descriptor >= 0)
    let file = OffloadFile(descriptor: descriptor, byteCount: 64 << 10)
    let stream = try OffloadStream(file, blockBytes: 4096)
    let transfers = (0..<16).map {
      OffloadTransfer(offset: $0 * 4096, byteCount: 4096, writes: true)
    }
    var visited = 0
    do throws(Fault) {
      try stream.run(transfers) { (cursor) throws(Fault) in
        for _ in transfers { try cursor.next { (_) throws(Fault) in visited += 1 } }
      }
    } catch {
      return (error, visited)
    }
    return (nil, visited)
  }

  @Test("A read that fails ends the walk with a fault, without a hang")
  func failingRead() throws {
    let (fault, visited) = try failingRun(writable: true, length: 5 * 4096)
    #expect(fault?.code == .offloadFailed)
    #expect(fault?.message.contains("read") == true)
    #expect(visited <= 5)
  }

  @Test("A write that fails ends the walk with a fault, without a hang")
  func failingWrite() throws {
    let (fault, _) = try failingRun(writable: false, length: 64 << 10)
    #expect(fault?.code == .offloadFailed)
    #expect(fault?.message.contains("write") == true)
  }

  @Test("A fault of the caller ends reader and writer; the next walk works")
  func failingCaller() throws {
    let folder = try ScratchFolder()
    let file = try OffloadFile(in: folder.path, byteCount: 64 << 10, rank: 0)
    let stream = try OffloadStream(file, blockBytes: 4096)
    let transfers = (0..<16).map {
      OffloadTransfer(offset: $0 * 4096, byteCount: 4096, writes: true)
    }
    for stop in [0, 1, 3, 7, 15] {
      let fault = #expect(throws: Fault.self) {
        try stream.run(transfers) { (cursor) throws(Fault) in
          for i in transfers.indices {
            try cursor.next { (_) throws(Fault) in
              if i == stop { throw Fault(.internalError, "stop") }
            }
          }
        }
      }
      #expect(fault?.message == "stop")
    }
    try stream.run(transfers) { (cursor) throws(Fault) in
      for i in transfers.indices {
        try cursor.next { (memory) in memory.storeBytes(of: UInt8(i), as: UInt8.self) }
      }
    }
    var seen: [UInt8] = []
    try stream.run(transfers) { (cursor) throws(Fault) in
      for _ in transfers {
        try cursor.next { (memory) in seen.append(memory.load(as: UInt8.self)) }
      }
    }
    #expect(seen == Array(0..<16))
  }

  @Test("A NUMA node is used if the host has one and libnuma, else refused in a sentence")
  func numa() throws {
    var rig = TrainingRig()
    rig.options = options(.bfloat16, .float32)
    let near = try rig.run()
    rig.options.offload = OffloadOptions(fraction: 0.5, tier: .numaNode(0))
    do {
      let far = try rig.run()
      #expect(far.wholeStates.mapValues(bits) == near.wholeStates.mapValues(bits))
      #expect(far[0].bytes.far > 0)
    } catch let fault as Fault {
      #expect(fault.code == .offloadUnavailable && fault.fix != nil)
    }
    rig.options.offload = OffloadOptions(fraction: 0.5, tier: .numaNode(4_000))
    let absent = rig
    let fault = #expect(throws: Fault.self) {
      _ = try absent.makeOptimizer(SelfWorld(), try Engine())
    }
    #expect(fault?.code == .offloadUnavailable)
    #expect(fault?.message.contains("4000") == true)
  }
}
