import Support
import Tensor

/// One open safetensors file: names, types and shapes at once, data when asked for.
///
///     let file = try SafetensorsFile("model.safetensors")
///     try file.read("lm_head.weight", into: buffer)
public final class SafetensorsFile: Sendable {
  public let path: String
  /// The tensors in the order of the data.
  public let tensors: [TensorSpec]
  /// The `__metadata__` of the header.
  public let metadata: [String: String]

  private let file: PosixFile
  private let places: [String: (index: Int, offset: Int)]

  /// Opens the file and checks its header in full.
  /// - Throws: `FILE-001`, `FILE-002`, `CKPT-101`.
  public init(_ path: String, use: PosixFile.Use = .shared) throws(Fault) {
    file = try PosixFile(reading: path, use: use)
    let header = try SafetensorsHeader(file: file)
    self.path = path
    tensors = header.entries.map(\.spec)
    metadata = header.metadata
    var places: [String: (Int, Int)] = [:]
    places.reserveCapacity(tensors.count)
    for (i, entry) in header.entries.enumerated() {
      places[entry.spec.name] = (i, header.dataStart + entry.range.lowerBound)
    }
    self.places = places
  }

  /// Type and shape of a tensor, or nil when the file has none of that name.
  public subscript(name: String) -> TensorSpec? { places[name].map { tensors[$0.index] } }

  /// Reads a whole tensor; `buffer` has exactly its bytes.
  /// - Throws: `CKPT-103`, `CKPT-135`, `FILE-002`.
  public func read(_ name: String, into buffer: UnsafeMutableRawBufferPointer) throws(Fault) {
    let (spec, offset) = try find(name)
    try check(spec, buffer.count, spec.byteCount)
    try file.read(into: buffer, at: offset)
  }

  /// Reads the slice `rows` of the first dimension; `buffer` has exactly its bytes.
  /// - Throws: `CKPT-103`, `CKPT-135`, `FILE-002`.
  public func read(
    _ name: String, rows: Range<Int>, into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let (spec, offset) = try find(name)
    guard let first = spec.shape.first, rows.lowerBound >= 0, rows.upperBound <= first else {
      throw Fault(
        .badRequest, "rows \(rows) are outside of shape \(spec.shape)",
        at: .tensor(name, file: path))
    }
    let rowBytes = first == 0 ? 0 : spec.byteCount / first
    try check(spec, buffer.count, rows.count * rowBytes)
    try file.read(into: buffer, at: offset + rows.lowerBound * rowBytes)
  }

  /// Reads a run of elements in the order of the file.
  /// - Throws: `CKPT-103`, `CKPT-135`, `FILE-002`.
  public func read(
    _ name: String, elements: Range<Int>, into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let (spec, bytes) = try place(name, elements)
    try check(spec, buffer.count, bytes.count)
    try file.read(into: buffer, at: bytes.lowerBound)
  }

  /// Hands on a run of elements in the order of the file, in parts of whole elements that lie in
  /// `block`; see `PosixFile.stream`.
  /// - Throws: `CKPT-103`, `CKPT-135`, `FILE-002`; what `body` throws.
  public func stream(
    _ name: String, elements: Range<Int>, through block: AlignedBlock,
    _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let (spec, bytes) = try place(name, elements)
    try file.stream(bytes, granule: spec.dtype.size, through: block, body)
  }

  /// Where elements lie in the file.
  private func place(
    _ name: String, _ elements: Range<Int>
  ) throws(Fault) -> (TensorSpec, Range<Int>) {
    let (spec, offset) = try find(name)
    guard elements.lowerBound >= 0, elements.upperBound <= spec.count else {
      throw Fault(
        .badRequest, "elements \(elements) are outside of shape \(spec.shape)",
        at: .tensor(name, file: path))
    }
    let size = spec.dtype.size
    return (spec, offset + elements.lowerBound * size..<offset + elements.upperBound * size)
  }

  /// Reads the box `ranges` (one per dimension) of a tensor, row-major, into `buffer`.
  /// - Throws: `CKPT-103`, `CKPT-135`, `FILE-002`.
  public func read(
    _ name: String, ranges: [Range<Int>], into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let (spec, offset) = try find(name)
    guard Box.fits(ranges, in: spec.shape) else {
      throw Fault(
        .badRequest, "ranges \(ranges) are outside of shape \(spec.shape)",
        at: .tensor(name, file: path))
    }
    let box = Box(ranges)
    try check(spec, buffer.count, box.count * spec.dtype.size)
    let runs = BoxRuns(
      box: box, source: Box(shape: spec.shape), target: box, elementSize: spec.dtype.size)
    try runs.forEach { (run) throws(Fault) in
      let part = UnsafeMutableRawBufferPointer(
        rebasing: buffer[run.target..<run.target + run.count])
      try file.read(into: part, at: offset + run.source)
    }
  }

  /// A whole tensor as bytes, for small ones.
  /// - Throws: `CKPT-103`, `FILE-002`.
  public func bytes(_ name: String) throws(Fault) -> [UInt8] {
    let (spec, offset) = try find(name)
    return try file.read(spec.byteCount, at: offset)
  }

  private func find(_ name: String) throws(Fault) -> (TensorSpec, Int) {
    guard let place = places[name] else {
      throw Fault(.missingTensor, "the file has no such tensor", at: .tensor(name, file: path))
    }
    return (tensors[place.index], place.offset)
  }

  private func check(_ spec: TensorSpec, _ given: Int, _ needed: Int) throws(Fault) {
    guard given == needed else {
      throw Fault(
        .badRequest, "the buffer has another size than the part asked for",
        at: .tensor(spec.name, file: path), expected: "\(needed) bytes", found: "\(given)")
    }
  }
}
