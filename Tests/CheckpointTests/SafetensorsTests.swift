import Support
import Tensor
import Testing

@testable import Checkpoint

@Suite struct SafetensorsTests {
  @Test("Every sample file gets the verdict of the official library, repeated keys are refused")
  func verdicts() throws {
    let folder = Samples.fixtures + "/safetensors_cases"
    let text = try AtomicFile.read(folder + "/verdicts.json")
    let verdicts = try text.withUnsafeBytes { try JSONValue.parse($0) }
    let members = try #require(verdicts.object?.members)
    #expect(members.count == 34)
    for (name, verdict) in members {
      let path = folder + "/\(name).safetensors"
      let accepted = verdict["accepted"]?.bool == true && !name.hasPrefix("dup_key")
      let found = fault {
        let file = try SafetensorsFile(path)
        let keys = try #require(verdict["keys"]?.object)
        #expect(keys.count == file.tensors.count, "\(name)")
        for spec in file.tensors {
          let expected = keys[spec.name]?.array
          #expect(expected?.first?.string == spec.dtype.rawValue, "\(name)")
          #expect(expected?.last?.array?.compactMap(\.int) == spec.shape, "\(name)")
        }
        #expect(file.metadata["format"] == verdict["metadata"]?["format"]?.string)
      }
      #expect((found == nil) == accepted, "\(name): \(found?.description ?? "accepted")")
    }
  }

  @Test("A sharded folder is read through its index")
  func sharded() throws {
    let folder = try SafetensorsFolder(Samples.fixtures + "/hf_sharded")
    #expect(folder.tensors.count == 4)
    #expect(folder.tensors.reduce(0) { $0 + $1.byteCount } == 4128)
    #expect(folder.notes.isEmpty)
    let spec = try #require(folder["model.norm.weight"])
    var whole = [UInt8](repeating: 0, count: spec.byteCount)
    try whole.withMutableRaw { (raw) throws(Fault) in
      try folder.read("model.norm.weight", into: raw)
    }
    #expect(whole.contains { $0 != 0 })
  }

  @Test("What is written is read back, whole, by rows and by boxes")
  func roundTrip() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    for _ in 0..<20 {
      let folder = try TemporaryFolder()
      var specs: [TensorSpec] = []
      var data: [[UInt8]] = []
      for i in 0..<Int.random(in: 1...6, using: &numbers) {
        let dtype = DType.allCases.randomElement(using: &numbers) ?? .float32
        let shape = (0..<Int.random(in: 0...3, using: &numbers)).map { _ in
          Int.random(in: 0...5, using: &numbers)
        }
        specs.append(TensorSpec("t\(i).\"ü\n", dtype, shape))
        data.append(numbers.bytes(specs[i].byteCount))
      }
      let limit = Int.random(in: 1...200, using: &numbers)
      let writer = try SafetensorsFolderWriter(folder.path, tensors: specs, maxShardBytes: limit)
      for (spec, bytes) in zip(specs, data) {
        let cut = bytes.count / 3
        try Array(bytes[..<cut]).withRaw { (raw) throws(Fault) in try writer.append(spec.name, raw)
        }
        try Array(bytes[cut...]).withRaw { (raw) throws(Fault) in try writer.append(spec.name, raw)
        }
      }
      try writer.finish()
      let reader = try SafetensorsFolder(folder.path)
      #expect(Set(reader.tensors.map(\.name)) == Set(specs.map(\.name)))
      #expect(try Folder.names(folder.path).allSatisfy { !$0.hasPrefix(".tmp") })
      for (spec, bytes) in zip(specs, data) {
        #expect(reader[spec.name] == spec)
        #expect(try reader.file(of: spec.name).bytes(spec.name) == bytes)
        #expect(try reader.file(of: spec.name).metadata == ["format": "pt"])
        let ranges = spec.shape.map { size in
          let low = Int.random(in: 0...size, using: &numbers)
          return low..<Int.random(in: low...size, using: &numbers)
        }
        var part = [UInt8](repeating: 0, count: Box(ranges).count * spec.dtype.size)
        let wanted = slice(bytes, spec, ranges)
        try part.withMutableRaw { (raw) throws(Fault) in
          try reader.read(spec.name, ranges: ranges, into: raw)
        }
        #expect(part == wanted)
        try checkRows(reader, spec, bytes, ranges.first)
      }
    }
  }

  private func checkRows(
    _ reader: SafetensorsFolder, _ spec: TensorSpec, _ bytes: [UInt8], _ rows: Range<Int>?
  ) throws {
    guard let rows, let size = spec.shape.first, size > 0 else { return }
    let row = spec.byteCount / size
    var lines = [UInt8](repeating: 0, count: rows.count * row)
    try lines.withMutableRaw { (raw) throws(Fault) in
      try reader.read(spec.name, rows: rows, into: raw)
    }
    #expect(lines == Array(bytes[rows.lowerBound * row..<rows.upperBound * row]))
  }

  @Test("A writer that gets other bytes than announced says so and leaves no file")
  func wrongBytes() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/model.safetensors"
    do {
      let writer = try SafetensorsWriter(path, tensors: [TensorSpec("a", .float32, [2])])
      let early = fault { try writer.finish() }
      #expect(early?.code == .badWriteOrder)
      let late = fault {
        try [UInt8](repeating: 0, count: 9).withRaw { (raw) throws(Fault) in try writer.append(raw)
        }
      }
      #expect(late?.code == .badWriteOrder)
    }
    #expect(try Folder.names(folder.path).isEmpty)
  }

  @Test("A single file and an index that disagree are refused")
  func disagreement() throws {
    let folder = try TemporaryFolder()
    let source = Samples.fixtures + "/hf_sharded"
    for name in try Folder.names(source) {
      try AtomicFile.write(try AtomicFile.read(source + "/" + name), to: folder.path + "/" + name)
    }
    let writer = try SafetensorsWriter(
      folder.path + "/model.safetensors", tensors: [TensorSpec("other", .uint8, [1])])
    try [UInt8(1)].withRaw { (raw) throws(Fault) in try writer.append(raw) }
    try writer.finish()
    #expect(fault { _ = try SafetensorsFolder(folder.path) }?.code == .badSafetensorsIndex)
  }

  @Test(
    "An index that leads out of its folder is refused", arguments: ["../x", "/etc/x", "a/b", ""])
  func path(_ name: String) throws {
    let folder = try TemporaryFolder()
    try AtomicFile.write(
      #"{"weight_map": {"a": "\#(name)"}}"#,
      to: folder.path + "/" + SafetensorsFolder.indexName)
    #expect(fault { _ = try SafetensorsFolder(folder.path) }?.code == .unsafePath)
  }

  @Test("Random damage to a header ends in a fault or in success, never in a crash")
  func mutations() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    let folder = try TemporaryFolder()
    let names = ["ok_two", "ok_bf16_f16_i64_u8_bool", "ok_zero_size"]
    var refused = 0
    for i in 0..<1500 {
      let name = names[i % names.count]
      var bytes = try AtomicFile.read(Samples.fixtures + "/safetensors_cases/\(name).safetensors")
      for _ in 0..<Int.random(in: 1...3, using: &numbers) {
        bytes[Int.random(in: 0..<bytes.count, using: &numbers)] = UInt8.random(
          in: 0...255, using: &numbers)
      }
      let path = folder.path + "/\(i)"
      let file = try PosixFile(creating: path)
      try bytes.withRaw { (raw) throws(Fault) in try file.write(raw, at: 0) }
      let found = fault {
        let file = try SafetensorsFile(path)
        for spec in file.tensors { _ = try file.bytes(spec.name) }
      }
      if found != nil { refused += 1 }
      #expect(found?.code != .internalError)
    }
    #expect(refused > 500)
  }

  @Test("Shard sizes are read in decimal and binary units")
  func sizes() throws {
    #expect(try SafetensorsShards.bytes(of: "5GB") == 5_000_000_000)
    #expect(try SafetensorsShards.bytes(of: "1.5 MiB") == 1_572_864)
    #expect(try SafetensorsShards.bytes(of: "12") == 12)
    #expect(fault { _ = try SafetensorsShards.bytes(of: "five") }?.code == .badShardSize)
  }

  /// The box of a row-major tensor, element by element.
  private func slice(_ bytes: [UInt8], _ spec: TensorSpec, _ ranges: [Range<Int>]) -> [UInt8] {
    var result: [UInt8] = []
    for element in 0..<spec.count {
      var rest = element
      var inside = true
      for axis in spec.shape.indices.reversed() {
        if !ranges[axis].contains(rest % spec.shape[axis]) { inside = false }
        rest /= spec.shape[axis]
      }
      if inside { result += bytes[element * spec.dtype.size..<(element + 1) * spec.dtype.size] }
    }
    return result
  }
}
