import Support
import Tensor
import Testing

@testable import Checkpoint

/// Bytes that are lent where they arrived, instead of copied.
@Suite struct StreamTests {
  @Test("A streamed range comes in order and in whole granules, wherever it begins in the file")
  func ranges() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    let folder = try TemporaryFolder()
    let block = AlignedBlock(1 << 20)
    let bytes = numbers.bytes(block.bytes.count)
    block.bytes.copyBytes(from: bytes)
    // Written past the page cache where there is such a way, and so read past it.
    let path = folder.path + "/data"
    let output = try PosixFile(creating: path, use: .once)
    try output.write(UnsafeRawBufferPointer(block.bytes), at: 0)
    for use in [PosixFile.Use.once, .shared] {
      let file = try PosixFile(reading: path, use: use)
      for _ in 0..<20 {
        let granule = [1, 2, 4, 8].randomElement(using: &numbers) ?? 1
        let first = Int.random(in: 0..<bytes.count / 2, using: &numbers)
        let most = (bytes.count - first) / granule
        let range = first..<first + Int.random(in: 0...most, using: &numbers) * granule
        let room = AlignedBlock((Bool.random(using: &numbers) ? 3 : 70) * AlignedBlock.unit)
        var got: [UInt8] = []
        var parts = 0
        try file.stream(range, granule: granule, through: room) { part in
          #expect(part.count % granule == 0)
          got += part
          parts += 1
        }
        #expect(got == Array(bytes[range]), "\(range) in \(granule)")
        if range.count + AlignedBlock.unit <= room.bytes.count { #expect(parts <= 1) }
      }
    }
    let file = try PosixFile(reading: path, use: .once)
    let found = fault { try file.stream(0..<bytes.count + 1, through: block) { _ in } }
    #expect(found?.code == .unreadableFile)
  }

  /// A tensor of three dims, cut along rows and columns of its matrices.
  private func write(
    _ spec: TensorSpec, _ bytes: [UInt8], rows: Int, columns: Int, to folder: String
  ) throws {
    let shape = spec.shape
    let (height, width) = (shape[1] / rows, shape[2] / columns)
    var shards: [TensorShard] = []
    for layer in 0..<shape[0] {
      for i in 0..<rows {
        for j in 0..<columns {
          let box = Box(
            offsets: [layer, i * height, j * width], sizes: [1, height, width])
          shards.append(
            TensorShard(spec, box: box) { (emit) throws(Fault) in
              for row in 0..<height {
                let start = ((layer * shape[1] + i * height + row) * shape[2] + j * width) * 2
                try Array(bytes[start..<start + width * 2]).withRaw(emit)
              }
            })
        }
      }
    }
    let report = try TorchDistWriter.write(tensors: shards, to: folder, rank: 0)
    _ = try TorchDistWriter.finish(
      folder, reports: [report], common: CommonState(iteration: 1, args: []))
  }

  @Test(
    "Streamed boxes have the bytes that were written, however they were cut, and are checked",
    arguments: [(1, 1), (4, 1), (1, 2), (2, 2)])
  func boxes(rows: Int, columns: Int) throws {
    var numbers = SeededNumbers(seed: UInt64(rows * 10 + columns))
    let folder = try TemporaryFolder()
    let spec = TensorSpec("w", .bfloat16, [2, 1200, 200])
    let bytes = numbers.bytes(spec.byteCount)
    try write(spec, bytes, rows: rows, columns: columns, to: folder.path)
    let memory = StreamMemory()
    func stream(_ ranges: [Range<Int>], wholly: Bool, _ reader: TorchDistReader) throws -> Int {
      var got: [UInt8] = []
      var parts = 0
      try reader.stream("w", ranges: ranges, wholly: wholly, through: memory) { part in
        #expect(part.count % 2 == 0)
        got += part
        parts += 1
      }
      let begin = (ranges[0].lowerBound * 1200 + ranges[1].lowerBound) * 400
      #expect(got == Array(bytes[begin..<begin + got.count]))
      #expect(got.count == ranges.reduce(2) { $0 * $1.count })
      return parts
    }
    for checks in [PieceChecks(), nil] {
      let reader = try TorchDistReader(folder.path, use: .once, checks: checks)
      for wholly in [true, false] {
        // A run of rows for each matrix, so that every byte is streamed once, then all at once.
        for layer in 0..<2 {
          let cut = Int.random(in: 1..<1200, using: &numbers)
          for run in [0..<cut, cut..<1200] {
            let parts = try stream([layer..<layer + 1, run, 0..<200], wholly: wholly, reader)
            if wholly, rows == 1, columns == 1 { #expect(parts == 1) }
          }
        }
        _ = try stream([0..<2, 0..<1200, 0..<200], wholly: wholly, reader)
      }
      try reader.finishChecks()
    }
    // A changed byte does not pass.
    let path = folder.path + "/__0_0.distcp"
    var file = try AtomicFile.read(path)
    file[try #require(file.firstRange(of: bytes[400..<440])).lowerBound] ^= 1
    try AtomicFile.write(file, to: path)
    let reader = try TorchDistReader(folder.path, use: .once, checks: PieceChecks())
    let found = fault {
      for layer in 0..<2 {
        try reader.stream(
          "w", ranges: [layer..<layer + 1, 0..<1200, 0..<200], wholly: false, through: memory
        ) { _ in }
      }
      try reader.finishChecks()
    }
    #expect(found?.code == .badArchiveChecksum)
  }
}
