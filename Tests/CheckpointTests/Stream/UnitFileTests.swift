import Support
import Tensor
import Testing

@testable import Checkpoint

@Suite struct UnitFileTests {
  /// A file of units of random sizes, some larger than a block of the writer.
  private func file(_ numbers: inout SeededNumbers, sizes: [Int]) -> (UnitFile, [UInt8]) {
    var all: [UInt8] = []
    let units = sizes.enumerated().map { i, size in
      let bytes = numbers.bytes(size)
      all += bytes
      return UnitFile.Unit.raw("unit \(i)", byteCount: size) { (emit) throws(Fault) in
        try bytes.withRaw { (raw) throws(Fault) in
          let half = raw.count / 3
          try emit(UnsafeRawBufferPointer(rebasing: raw[..<half]))
          try emit(UnsafeRawBufferPointer(rebasing: raw[half...]))
        }
      }
    }
    return (UnitFile(name: "data", units: units), all)
  }

  @Test(
    "A write that is stopped anywhere goes on after its last noted unit and gives the same bytes")
  func goesOn() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    let sizes = [0, 17, 9_000_001, 1, 4096, 300_000, 8 << 20, 5]
    let (file, bytes) = file(&numbers, sizes: sizes)
    let stopped = Fault(.internalError, "stopped")
    for last in 0..<sizes.count {
      let folder = try TemporaryFolder()
      var told = 0
      let found = fault {
        _ = try file.write(to: folder.path, purpose: "p", interval: 1000) {
          (_, _) throws(Fault) in
          if told == last { throw stopped }
          told += 1
        }
      }
      #expect(found?.message == "stopped")
      var isFound = false
      let units = try file.write(to: folder.path, purpose: "p", interval: 1000) {
        (_, isNew) throws(Fault) in
        if !isNew { isFound = true }
      }
      #expect(isFound)
      #expect(units.map(\.length) == sizes)
      #expect(try AtomicFile.read(folder.path + "/data") == bytes)
      var sum = CRC32C()
      for unit in units { sum.append(CRC32C(value: unit.crc32c, count: unit.length)) }
      #expect(sum == CRC32C(bytes))
    }
  }

  @Test("What was written for another purpose is not used")
  func otherPurpose() throws {
    var numbers = SeededNumbers(seed: 1)
    let folder = try TemporaryFolder()
    let (first, _) = file(&numbers, sizes: [100, 100])
    let (second, bytes) = file(&numbers, sizes: [100, 100])
    _ = try first.write(to: folder.path, purpose: "a")
    _ = try second.write(to: folder.path, purpose: "b")
    #expect(try AtomicFile.read(folder.path + "/data") == bytes)
  }

  @Test("A line of the journal that was cut off or changed does not count")
  func journal() throws {
    let folder = try TemporaryFolder()
    let journal = UnitJournal(path: folder.path + "/x.progress", purpose: "p")
    try journal.begin()
    let units = (0..<6).map { WrittenUnit(length: $0, crc32c: UInt32($0)) }
    try journal.append(units[..<2])
    try journal.append(units[2...])
    #expect(try journal.read() == units)
    let text = try AtomicFile.read(journal.path)
    for cut in 1..<30 {
      try AtomicFile.write(Array(text.dropLast(cut)), to: journal.path)
      let read = try journal.read()
      #expect(read == Array(units[..<2]) || (cut == 1 && read == units))
    }
  }

  @Test("Pieces read in any order check a whole storage, and a changed byte is found")
  func pieceChecks() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    let folder = try TemporaryFolder()
    let bytes = numbers.bytes(64 * 96)
    let spec = TensorSpec("w", .uint8, [64, 96])
    try bytes.withRaw { (raw) throws(Fault) in
      let report = try TorchDistWriter.write(
        tensors: [TensorShard(spec, bytes: raw)], to: folder.path, rank: 0)
      _ = try TorchDistWriter.finish(
        folder.path, reports: [report], common: CommonState(iteration: 1, args: []))
    }
    func readAll() throws {
      let reader = try TorchDistReader(folder.path, use: .once, checks: PieceChecks())
      var read = [UInt8](repeating: 0, count: bytes.count)
      for first in [32, 0, 48, 16] {
        try read.withMutableRaw { (raw) throws(Fault) in
          try reader.read(
            "w", ranges: [first..<first + 16, 0..<96],
            into: UnsafeMutableRawBufferPointer(rebasing: raw[first * 96..<(first + 16) * 96]))
        }
      }
      #expect(read == bytes)
      try reader.finishChecks()
    }
    try readAll()
    let path = folder.path + "/__0_0.distcp"
    var file = try AtomicFile.read(path)
    let place = try #require(file.firstRange(of: bytes[1000..<1040])).lowerBound
    file[place] ^= 4
    try AtomicFile.write(file, to: path)
    var found: Fault?
    do { try readAll() } catch let fault as Fault { found = fault }
    #expect(found?.code == .badArchiveChecksum)
    #expect(found?.place == .tensor("w", file: path))
  }
}
