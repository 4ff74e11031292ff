import Foundation
import Support
import Tensor
import Testing

@testable import Checkpoint

/// Writes a checkpoint of random tensors from several ranks, cut at random.
struct RandomCheckpoint {
  var specs: [TensorSpec] = []
  var data: [String: [UInt8]] = [:]
  var objects: [ObjectShard] = []

  init(_ numbers: inout SeededNumbers, count: Int = 6) {
    for i in 0..<count {
      let dtype = DType.allCases.randomElement(using: &numbers) ?? .float32
      let shape = (0..<Int.random(in: 0...4, using: &numbers)).map { _ in
        Int.random(in: i == 0 ? 0...3 : 1...6, using: &numbers)
      }
      let spec = TensorSpec("decoder.tensor\(i).ä", dtype, shape)
      specs.append(spec)
      data[spec.name] = numbers.bytes(spec.byteCount)
    }
    objects = [
      .byteTensor(ObjectShard.key("a._extra_state", offset: [0], shape: [2]), []),
      .byteTensor(
        ObjectShard.key("a._extra_state", offset: [1], shape: [2]), [0x80, 4, 0x4E, 0x2E]),
      ObjectShard("plain", value: .dictionary([("x", .int(1)), ("y", .list([.text("é")]))])),
    ]
  }

  /// Cuts every axis at random places.
  static func cut(_ shape: [Int], _ numbers: inout SeededNumbers) -> [Box] {
    var boxes = [Box(offsets: [], sizes: [])]
    for size in shape {
      var cuts = [0, size]
      if size > 1, Bool.random(using: &numbers) {
        cuts.insert(Int.random(in: 1..<size, using: &numbers), at: 1)
      }
      boxes = boxes.flatMap { box in
        zip(cuts, cuts.dropFirst()).map { low, high in
          Box(offsets: box.offsets + [low], sizes: box.sizes + [high - low])
        }
      }
    }
    return boxes
  }

  /// - Returns: the reports of all ranks, having gone through bytes as over a network.
  func write(_ folder: String, ranks: Int, numbers: inout SeededNumbers) throws -> [RankReport] {
    var work = [[TensorShard]](repeating: [], count: ranks)
    for spec in specs {
      let bytes = data[spec.name] ?? []
      for box in Self.cut(spec.shape, &numbers) {
        var part = [UInt8](repeating: 0, count: box.count * spec.dtype.size)
        let runs = BoxRuns(
          box: box, source: Box(shape: spec.shape), target: box, elementSize: spec.dtype.size)
        try runs.forEach { (run) throws(Fault) in
          for i in 0..<run.count { part[run.target + i] = bytes[run.source + i] }
        }
        let piece = part
        let cut = Int.random(in: 0...piece.count, using: &numbers)
        work[Int.random(in: 0..<ranks, using: &numbers)].append(
          TensorShard(spec, box: box) { (emit) throws(Fault) in
            try Array(piece[..<cut]).withRaw { (raw) throws(Fault) in try emit(raw) }
            try Array(piece[cut...]).withRaw { (raw) throws(Fault) in try emit(raw) }
          })
      }
    }
    var reports: [RankReport] = []
    for rank in 0..<ranks {
      let report = try TorchDistWriter.write(
        tensors: work[rank], objects: rank == 0 ? objects : [], to: folder, rank: rank,
        files: Int.random(in: 1...3, using: &numbers))
      reports.append(try RankReport(bytes: report.bytes))
      #expect(reports.last == report)
    }
    return reports
  }

  func check(_ folder: String) throws {
    let reader = try TorchDistReader(folder)
    #expect(Set(reader.index.tensors.keys) == Set(specs.map(\.name)))
    for spec in specs {
      #expect(reader[spec.name]?.spec == spec)
      #expect(try reader.bytes(spec.name) == data[spec.name], "\(spec.name)")
    }
    #expect(try reader.object("plain").value["x"] == .int(1))
    let state = try reader.object("a._extra_state/shard_1_2")
    let part = try #require(state.value.items?.first)
    #expect(try state.tensor(part)?.bytes == [0x80, 4, 0x4E, 0x2E])
  }
}

@Suite struct MegatronWriteTests {
  static var common: CommonState {
    var state = CommonState(
      iteration: 7,
      args: [
        ("tensor_model_parallel_size", .int(2)), ("pipeline_model_parallel_size", .int(1)),
        ("no_save_optim", .bool(true)), ("no_save_rng", .bool(true)),
        ("params_dtype", .global(PickleName("torch", "bfloat16"))),
      ], contentMetadata: [("distrib_optim_sharding_type", .text("fully_reshardable"))])
    state.optimizer = .dictionary([
      ("optimizer", .dictionary([("param_groups", .list([.dictionary([("step", .float(3))])]))]))
    ])
    return state
  }

  @Test("Random tensors, cut at random over ranks and files, are read back equal")
  func roundTrip() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    for _ in 0..<12 {
      let folder = try TemporaryFolder()
      let checkpoint = RandomCheckpoint(&numbers)
      let reports = try checkpoint.write(
        folder.path, ranks: Int.random(in: 1...4, using: &numbers), numbers: &numbers)
      let files = try TorchDistWriter.finish(folder.path, reports: reports, common: Self.common)
      try checkpoint.check(folder.path)
      #expect(try CommonState(folder: folder.path) == Self.common)
      for file in files {
        #expect(try Manifest.checksum(folder.path + "/" + file.name) == file.crc32c)
        #expect(Folder.fileSize(folder.path + "/" + file.name) == file.size)
      }
    }
  }

  @Test("Payloads begin at multiples of 64 bytes of their archive")
  func alignment() throws {
    let folder = try TemporaryFolder()
    var numbers = SeededNumbers(seed: 1)
    let checkpoint = RandomCheckpoint(&numbers)
    let reports = try checkpoint.write(folder.path, ranks: 1, numbers: &numbers)
    for item in reports[0].items {
      let file = try PosixFile(reading: folder.path + "/" + item.location.file)
      let zip = try ZipReader(
        ByteSource(file, offset: item.location.offset, count: item.location.length))
      for entry in zip.entries { #expect(try zip.payload(of: entry) % 64 == 0) }
    }
  }

  @Test("Pieces that leave a hole, overlap or are written twice are refused")
  func tilings() throws {
    let shape = [4, 6]
    func box(_ o: [Int], _ s: [Int]) -> Box { Box(offsets: o, sizes: s) }
    let good = [box([0, 0], [4, 3]), box([0, 3], [2, 3]), box([2, 3], [2, 3])]
    #expect(Tiling.problem(good, shape: shape) == nil)
    #expect(Tiling.problem(Array(good.dropLast()), shape: shape) != nil)
    #expect(Tiling.problem(good + [good[0]], shape: shape) != nil)
    #expect(
      Tiling.problem([box([0, 0], [4, 3]), box([0, 2], [4, 3])], shape: shape) != nil)
    #expect(Tiling.problem([box([0, 0], [4, 7])], shape: shape) != nil)
    // A pinwheel cannot be cut along any axis and still tiles.
    let wheel = [
      box([0, 0], [1, 2]), box([0, 2], [2, 1]), box([2, 1], [1, 2]), box([1, 0], [2, 1]),
      box([1, 1], [1, 1]),
    ]
    #expect(Tiling.problem(wheel, shape: [3, 3]) == nil)
    let shifted = wheel.dropLast() + [box([1, 0], [1, 1])]
    #expect(Tiling.problem(Array(shifted), shape: [3, 3]) != nil)
  }

  @Test("A stream of another size than announced is refused")
  func wrongStream() throws {
    for size in [7, 9] {
      let folder = try TemporaryFolder()
      let shard = TensorShard(TensorSpec("a", .float32, [2]), box: Box(shape: [2])) {
        (emit) throws(Fault) in
        try [UInt8](repeating: 0, count: size).withRaw { (raw) throws(Fault) in try emit(raw) }
      }
      let found = fault {
        _ = try TorchDistWriter.write(tensors: [shard], to: folder.path, rank: 0)
      }
      #expect(found?.code == .badWriteOrder)
    }
  }

  @Test("A flipped bit of a payload is found by the checksum")
  func flippedBit() throws {
    let folder = try TemporaryFolder()
    let bytes = [UInt8](repeating: 5, count: 1000)
    let spec = TensorSpec("a", .uint8, [1000])
    let report = try bytes.withRaw { (raw) throws(Fault) in
      try TorchDistWriter.write(
        tensors: [TensorShard(spec, bytes: raw)], to: folder.path, rank: 0)
    }
    _ = try TorchDistWriter.finish(folder.path, reports: [report], common: Self.common)
    let path = folder.path + "/__0_0.distcp"
    var content = try AtomicFile.read(path)
    let place = try #require(
      content.indices.first { content[$0...].prefix(9).allSatisfy { $0 == 5 } })
    content[place + 500] ^= 1
    try AtomicFile.write(content, to: path)
    let reader = try TorchDistReader(folder.path)
    #expect(fault { _ = try reader.bytes("a") }?.code == .badArchiveChecksum)
    var one: [UInt8] = [0]
    let found = fault {
      try one.withMutableRaw { (raw) throws(Fault) in
        try reader.read("a", ranges: [10..<11], into: raw)
      }
    }
    #expect(found?.code == .badArchiveChecksum, "a part is verified with the whole")
  }

  @Test("A data file that is shorter than the index says is refused at once")
  func truncated() throws {
    let folder = try TemporaryFolder()
    var numbers = SeededNumbers(seed: 3)
    let checkpoint = RandomCheckpoint(&numbers)
    let reports = try checkpoint.write(folder.path, ranks: 1, numbers: &numbers)
    _ = try TorchDistWriter.finish(folder.path, reports: reports, common: Self.common)
    let path = folder.path + "/__0_0.distcp"
    try AtomicFile.write(Array(try AtomicFile.read(path).dropLast()), to: path)
    #expect(fault { _ = try TorchDistReader(folder.path) }?.code == .incompleteCheckpoint)
  }

  @Test("A data file that is a link out of the folder is refused")
  func link() throws {
    let folder = try TemporaryFolder()
    let outside = try TemporaryFolder()
    var numbers = SeededNumbers(seed: 4)
    let checkpoint = RandomCheckpoint(&numbers)
    let reports = try checkpoint.write(folder.path, ranks: 1, numbers: &numbers)
    _ = try TorchDistWriter.finish(folder.path, reports: reports, common: Self.common)
    let path = folder.path + "/__0_0.distcp"
    try Folder.rename(path, to: outside.path + "/x")
    try FileManager.default.createSymbolicLink(
      atPath: path, withDestinationPath: outside.path + "/x")
    #expect(fault { _ = try TorchDistReader(folder.path) }?.code == .unsafePath)
  }

  @Test("Random damage to archives ends in a fault or in success, never in a crash")
  func mutations() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    let torch = try AtomicFile.read(
      Samples.fixtures + "/mcore016_dense_tp1/iter_0000001/common.pt")
    let folder = try TemporaryFolder()
    _ = try Self.common.write(to: folder.path)
    let ours = try AtomicFile.read(folder.path + "/common.pt")
    var refused = 0
    for i in 0..<2000 {
      var bytes = i % 2 == 0 ? torch : ours
      // Half of the damage goes to the directory at the end, which is where offsets are.
      let low = i % 4 < 2 ? 0 : max(0, bytes.count - 500)
      for _ in 0..<Int.random(in: 1...3, using: &numbers) {
        bytes[Int.random(in: low..<bytes.count, using: &numbers)] = UInt8.random(
          in: 0...255, using: &numbers)
      }
      if i % 9 == 0 { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &numbers)) }
      let found = fault {
        let archive = try TorchArchive(ByteSource(bytes, path: "mutated"), allow: .inert)
        for entry in archive.zip.entries { _ = try archive.zip.content(of: entry) }
      }
      #expect(found?.code != .internalError)
      if found != nil { refused += 1 }
    }
    #expect(refused > 500)
  }

  @Test("Views with strides and an offset, and big-endian data, are read by value")
  func views() throws {
    let folder = try TemporaryFolder()
    let output = try BlockFile(creating: folder.path + "/a", copy: PassingCopy.run)
    let storage: [UInt8] = (0..<24).flatMap { [UInt8($0), 0] }
    var record = TensorRecord(dtype: .int16, shape: [3, 2], storageKey: "0")
    record.strides = [2, 8]
    record.offset = 1
    record.storageCount = 24
    var writer = TorchArchiveWriter(output, base: 0)
    try writer.write(
      record.pickle,
      storages: [
        (
          "0", storage.count,
          { (emit) throws(Fault) in try storage.withRaw { (raw) throws(Fault) in try emit(raw) } }
        )
      ])
    try output.settle()
    let file = try PosixFile(reading: folder.path + "/a")
    let archive = try TorchArchive(
      ByteSource(file, offset: 0, count: writer.position), allow: .tensor)
    let read = try archive.tensor(try archive.singleTensor())
    #expect(read == [1, 0, 9, 0, 3, 0, 11, 0, 5, 0, 13, 0])
    record.offset = 12
    #expect(fault { _ = try TensorRecord(record.pickle, path: "") }?.code == .badTensorRecord)
  }
}
