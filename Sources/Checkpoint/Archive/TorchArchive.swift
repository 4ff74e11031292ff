import Support
import Tensor

/// An archive of `torch.save`: a value and the storages its tensors point to.
///
///     let archive = try TorchArchive(source, allow: .tensor)
///     let value = archive.value               // inert
///     let bytes = try archive.tensor(record)  // row-major bytes
struct TorchArchive: Sendable {
  let value: PickleValue
  let zip: ZipReader
  private let root: String
  private let bigEndian: Bool

  /// - Throws: `CKPT-111` to `CKPT-122`.
  init(
    _ source: ByteSource, allow: PickleAllowList, limits: PickleLimits = PickleLimits()
  ) throws(Fault) {
    zip = try ZipReader(source)
    guard let first = zip.entries.first?.name, let slash = first.firstIndex(of: "/") else {
      throw Fault(.badArchive, "the archive has no entries", at: .file(source.path))
    }
    root = String(first[...slash])
    guard let pickle = zip[root + "data.pkl"] else {
      throw Fault(.badArchive, "the archive has no data.pkl", at: .file(source.path))
    }
    if let order = zip[root + "byteorder"] {
      bigEndian = try zip.content(of: order) == Array("big".utf8)
    } else {
      bigEndian = false
    }
    let bytes = try zip.content(of: pickle)
    value = try PickleValue.decode(bytes, path: source.path, allow: allow, limits: limits)
  }

  /// The value as one tensor.
  /// - Throws: `CKPT-123` when it is something else or does not fit its storage.
  func singleTensor() throws(Fault) -> TensorRecord {
    guard let record = try TensorRecord(value, path: zip.source.path) else {
      throw Fault(.badTensorRecord, "the item holds no tensor", at: .file(zip.source.path))
    }
    _ = try storage(of: record)
    return record
  }

  /// The entry with the data of a tensor, large enough for it.
  private func storage(of record: TensorRecord) throws(Fault) -> ZipReader.Entry {
    guard let entry = zip[root + "data/" + record.storageKey] else {
      throw Fault(
        .badTensorRecord, "the archive has no storage \(record.storageKey)",
        at: .file(zip.source.path))
    }
    guard entry.size / record.dtype.size >= record.storageCount || record.count == 0 else {
      throw Fault(
        .badTensorRecord, "storage \(record.storageKey) is too short", at: .file(zip.source.path),
        expected: "\(record.storageCount) elements", found: "\(entry.size) bytes")
    }
    return entry
  }

  /// A whole tensor, row-major, little-endian, its checksum tested.
  /// - Throws: `CKPT-121` to `CKPT-123`.
  func tensor(_ record: TensorRecord) throws(Fault) -> [UInt8] {
    // A view may repeat elements (stride 0); it may not make more than the archive holds.
    guard record.byteCount <= max(zip.source.count, 1 << 16) else {
      throw Fault(
        .badTensorRecord, "a tensor claims \(record.byteCount) bytes", at: .file(zip.source.path),
        found: "an archive of \(zip.source.count)")
    }
    var bytes = [UInt8](repeating: 0, count: record.byteCount)
    let box = Box(shape: record.shape)
    try bytes.withMutableRaw { (raw) throws(Fault) in
      try read(record, part: box, chunk: box, target: box, into: raw, verify: true)
    }
    return bytes
  }

  /// Copies `part` of a tensor into a buffer.
  /// - Parameters:
  ///   - part: inside both boxes, all in global coordinates.
  ///   - chunk: the place of the tensor.
  ///   - target: the place of the buffer, which is row-major.
  ///   - verify: test the checksum though that means to read all of the storage.
  func read(
    _ record: TensorRecord, part: Box, chunk: Box, target: Box,
    into buffer: UnsafeMutableRawBufferPointer, verify: Bool,
    checks: (PieceChecks, ItemLocation)? = nil
  ) throws(Fault) {
    let entry = try storage(of: record)
    if part.isEmpty { return }
    guard isPlain(record) else {
      return try gather(record, entry, part: part, chunk: chunk, target: target, into: buffer)
    }
    let runs = BoxRuns(box: part, source: chunk, target: target, elementSize: record.dtype.size)
    let start = try zip.payload(of: entry)
    let shift = record.offset * record.dtype.size
    if let (checks, item) = checks {
      let hull = BoxRuns(
        box: part, source: chunk, target: chunk, elementSize: record.dtype.size)
      guard hull.runCount == 1 else {
        checks.skip(item)
        return try direct(runs, entry, start: start + shift, into: buffer, check: false)
      }
      let stream = StorageStream(zip: zip, entry: entry, start: start, shift: shift)
      return try piece(stream, runs, hull, checks, item, into: buffer)
    }
    let whole = shift == 0 && entry.size == record.byteCount && runs.runCount == 1 && part == chunk
    if whole || !verify {
      return try direct(runs, entry, start: start + shift, into: buffer, check: whole)
    }
    try StorageStream(zip: zip, entry: entry, start: start, shift: shift).copy(runs, into: buffer)
  }

  /// Whether the elements of a tensor lie in its storage as they are used.
  func isPlain(_ record: TensorRecord) -> Bool {
    record.isContiguous && (!bigEndian || record.dtype.size == 1)
  }

  /// Hands on a part of a plain tensor that is one stretch of its storage, and notes its checksum.
  /// - Parameters:
  ///   - part, chunk: as for `read`.
  ///   - wholly: in one part if `block` has room; else in parts that stay in the cache.
  /// - Throws: `CKPT-121` to `CKPT-123`, `FILE-002`; what `body` throws.
  func stream(
    _ record: TensorRecord, part: Box, chunk: Box, wholly: Bool, through block: AlignedBlock,
    checks: (PieceChecks, ItemLocation), _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let entry = try storage(of: record)
    let start = try zip.payload(of: entry)
    let size = record.dtype.size
    let hull = BoxRuns(box: part, source: chunk, target: chunk, elementSize: size)
    try hull.forEach { (run) throws(Fault) in
      let begin = run.source + record.offset * size
      let range = begin..<begin + run.count
      guard range.upperBound <= entry.size else {
        throw Fault(.badTensorRecord, "a tensor leaves its storage", at: .file(zip.source.path))
      }
      var crc: UInt32 = 0
      func pass(_ bytes: UnsafeRawBufferPointer) throws(Fault) {
        crc = CRC32.update(crc, bytes)
        try body(bytes)
      }
      try zip.source.stream(
        start + range.lowerBound..<start + range.upperBound, granule: size, through: block
      ) { (bytes) throws(Fault) in
        if wholly { try pass(bytes) } else { try CacheParts.forEach(bytes, pass) }
      }
      if let whole = checks.0.add(checks.1, size: entry.size, range: range, crc: crc) {
        try zip.check(entry, crc: whole)
      }
    }
  }

  /// Reads one stretch of the storage and notes its checksum.
  private func piece(
    _ stream: StorageStream, _ runs: BoxRuns, _ hull: BoxRuns, _ checks: PieceChecks,
    _ item: ItemLocation, into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try hull.forEach { (stretch) throws(Fault) in
      let begin = stretch.source + stream.shift
      let range = begin..<begin + stretch.count
      let crc: UInt32
      if runs.runCount == 1 {
        try direct(
          runs, stream.entry, start: stream.start + stream.shift, into: buffer, check: false)
        var own: UInt32 = 0
        try runs.forEach { (run) throws(Fault) in
          let bytes = buffer[run.target..<run.target + run.count]
          own = CRC32.of(UnsafeRawBufferPointer(rebasing: bytes))
        }
        crc = own
      } else {
        crc = try stream.copy(runs, of: range, into: buffer)
      }
      if let whole = checks.add(item, size: stream.entry.size, range: range, crc: crc) {
        try zip.check(stream.entry, crc: whole)
      }
    }
  }

  /// One read per run, straight into the buffer.
  private func direct(
    _ runs: BoxRuns, _ entry: ZipReader.Entry, start: Int,
    into buffer: UnsafeMutableRawBufferPointer, check: Bool
  ) throws(Fault) {
    try runs.forEach { (run) throws(Fault) in
      let part = UnsafeMutableRawBufferPointer(
        rebasing: buffer[run.target..<run.target + run.count])
      try zip.source.read(into: part, at: start + run.source)
      if check { try zip.check(entry, crc: CRC32.of(UnsafeRawBufferPointer(part))) }
    }
  }

  /// Element by element, for views and foreign byte order; rare, so the storage is held whole.
  private func gather(
    _ record: TensorRecord, _ entry: ZipReader.Entry, part: Box, chunk: Box, target: Box,
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let storage = try zip.content(of: entry)
    let size = record.dtype.size
    let local = Box(
      offsets: zip2(part.offsets, chunk.offsets, -), sizes: part.sizes)
    var position = local.offsets
    let places = BoxRuns.strides(target.sizes, size)
    for _ in 0..<part.count {
      var from = record.offset
      var to = 0
      for axis in 0..<position.count {
        from += position[axis] * record.strides[axis]
        to += (position[axis] + chunk.offsets[axis] - target.offsets[axis]) * places[axis]
      }
      for byte in 0..<size {
        buffer[to + byte] = storage[from * size + (bigEndian ? size - 1 - byte : byte)]
      }
      var axis = position.count - 1
      while axis >= 0 {
        position[axis] += 1
        if position[axis] < local.offsets[axis] + local.sizes[axis] { break }
        position[axis] = local.offsets[axis]
        axis -= 1
      }
    }
  }

  private func zip2(_ a: [Int], _ b: [Int], _ f: (Int, Int) -> Int) -> [Int] {
    Swift.zip(a, b).map { f($0, $1) }
  }
}
