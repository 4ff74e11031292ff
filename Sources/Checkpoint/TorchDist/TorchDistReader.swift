import Support
import Synchronization
import Tensor

/// Reads any part of any tensor of a `torch_dist` (or plain DCP) checkpoint folder.
///
///     let reader = try TorchDistReader(folder)
///     try reader.read("output_layer.weight", ranges: [0..<512, 0..<h], into: buffer)
///
/// The stored layout does not matter: each read fetches the pieces that intersect it. Several
/// threads may read at a time.
public final class TorchDistReader: Sendable {
  public let folder: String
  public let index: DistIndex
  /// Whether every piece is read to its end for its checksum, also when a part is enough.
  public let verify: Bool

  private let use: PosixFile.Use
  let checks: PieceChecks?

  private static let openLimit = 256
  private let open = Mutex<[String: PosixFile]>([:])

  /// Reads `.metadata` and checks that every item lies inside its file.
  /// - Parameters:
  ///   - folder: the iteration folder, with `.metadata`.
  ///   - verify: see the property; turn it off only after the manifest has been verified.
  ///   - use: how often the data is read.
  ///   - checks: verify storages by the pieces that are read of them, each once; call
  ///     `finishChecks` at the end.
  /// - Throws: `FILE-001`, `FILE-002`, `CKPT-111` to `CKPT-134`, `CKPT-143`.
  public init(
    _ folder: String, verify: Bool = true, use: PosixFile.Use = .shared,
    checks: PieceChecks? = nil
  ) throws(Fault) {
    self.folder = folder
    self.verify = verify
    self.use = use
    self.checks = checks
    index = try DistIndex(path: folder + "/.metadata")
    var ends: [String: Int] = [:]
    func take(_ place: ItemLocation) {
      ends[place.file] = max(ends[place.file] ?? 0, place.offset + place.length)
    }
    for place in index.objects.values { take(place) }
    for tensor in index.tensors.values { for chunk in tensor.chunks { take(chunk.location) } }
    for (name, end) in ends.sorted(by: { $0.key < $1.key }) {
      try PlainName.checkInside(folder, name)
      guard let size = Folder.fileSize(folder + "/" + name), end <= size else {
        throw Fault(
          .incompleteCheckpoint, "a data file is shorter than the index says",
          at: .file(folder + "/" + name), expected: "at least \(end) bytes",
          found: "\(Folder.fileSize(folder + "/" + name) ?? 0)", fix: "copy the checkpoint again")
      }
    }
  }

  /// Type, global shape and pieces of a tensor, or nil when there is none of that key.
  public subscript(key: String) -> StoredTensor? { index.tensors[key] }

  /// Reads the box `ranges` (one per dimension) of a tensor, row-major and unconverted.
  /// - Parameter buffer: exactly as many bytes as the box has.
  /// - Throws: `CKPT-103`, `CKPT-121` to `CKPT-123`, `CKPT-135`, `FILE-002`.
  public func read(
    _ key: String, ranges: [Range<Int>], into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let tensor = try tensor(key, ranges)
    let target = Box(ranges)
    guard buffer.count == target.count * tensor.spec.dtype.size else {
      throw Fault(
        .badRequest, "the buffer has another size than the part asked for",
        at: .tensor(key, file: folder),
        expected: "\(target.count * tensor.spec.dtype.size) bytes", found: "\(buffer.count)")
    }
    if target.isEmpty { return }
    for chunk in tensor.candidates(target) {
      guard let part = chunk.box.intersection(target) else { continue }
      do throws(Fault) {
        try read(chunk, of: tensor.spec, part: part, target: target, into: buffer)
      } catch {
        throw Self.named(error, key, folder + "/" + chunk.location.file)
      }
    }
  }

  /// A fault of an archive that says nothing of a tensor gets its name.
  static func named(_ fault: Fault, _ key: String, _ file: String) -> Fault {
    guard case .file? = fault.place, fault.code.exit == .corruptCheckpoint else { return fault }
    var fault = fault
    fault.place = .tensor(key, file: file)
    return fault
  }

  private func read(
    _ chunk: StoredChunk, of spec: TensorSpec, part: Box, target: Box,
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let (archive, record) = try opened(chunk, of: spec)
    try archive.read(
      record, part: part, chunk: chunk.box, target: target, into: buffer, verify: verify,
      checks: checks.map { ($0, chunk.location) })
  }

  /// The archive of a piece and the tensor in it, held against the index.
  func opened(
    _ chunk: StoredChunk, of spec: TensorSpec
  ) throws(Fault) -> (TorchArchive, TensorRecord) {
    let archive = try TorchArchive(try source(chunk.location), allow: .tensor)
    let record = try archive.singleTensor()
    try match(record, chunk, spec)
    return (archive, record)
  }

  private func match(
    _ record: TensorRecord, _ chunk: StoredChunk, _ spec: TensorSpec
  ) throws(Fault) {
    guard record.dtype == spec.dtype, record.shape == chunk.box.sizes else {
      throw Fault(
        .badTensorRecord, "the piece at \(chunk.box.offsets) differs from the index",
        at: .tensor(spec.name, file: folder + "/" + chunk.location.file),
        expected: "\(spec.dtype.rawValue) \(chunk.box.sizes)",
        found: "\(record.dtype.rawValue) \(record.shape)")
    }
  }

  /// Reads all pieces of a tensor to their ends: checksums, and type and shape against the index.
  /// - Throws: `CKPT-111` to `CKPT-123`, `FILE-002`; with the name of the tensor.
  public func verify(_ tensor: StoredTensor) throws(Fault) {
    for chunk in tensor.chunks {
      do throws(Fault) {
        let archive = try opened(chunk, of: tensor.spec).0
        for entry in archive.zip.entries { try archive.zip.verify(entry) }
      } catch {
        throw Self.named(error, tensor.spec.name, folder + "/" + chunk.location.file)
      }
    }
  }

  /// Reads what was read only in part so far, so that every item that was used is checked.
  /// - Throws: `CKPT-122`, `FILE-002`.
  public func finishChecks() throws(Fault) {
    for place in checks?.unfinished ?? [] { try verifyItem(place) }
  }

  /// Reads an item to its end and compares its checksums.
  /// - Throws: `CKPT-111` to `CKPT-122`, `FILE-002`.
  public func verifyItem(_ place: ItemLocation) throws(Fault) {
    let zip = try ZipReader(try source(place))
    for entry in zip.entries { try zip.verify(entry) }
  }

  /// Reads a whole tensor.
  public func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws(Fault) {
    try read(key, ranges: try tensor(key).spec.shape.map { 0..<$0 }, into: buffer)
  }

  /// A whole tensor as bytes, for small ones.
  public func bytes(_ key: String) throws(Fault) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: try tensor(key).spec.byteCount)
    try bytes.withMutableRaw { (raw) throws(Fault) in try read(key, into: raw) }
    return bytes
  }

  /// A byte object that holds plain data, tensors or numpy arrays.
  /// - Throws: `CKPT-103`, `CKPT-111` to `CKPT-122`.
  public func object(_ key: String) throws(Fault) -> StoredObject {
    guard let place = index.objects[key] else {
      throw Fault(.missingTensor, "there is no such object", at: .tensor(key, file: folder))
    }
    return StoredObject(archive: try TorchArchive(try source(place), allow: .object))
  }

  /// The tensor of a key, of which a box is wanted.
  func tensor(_ key: String, _ ranges: [Range<Int>]) throws(Fault) -> StoredTensor {
    let tensor = try tensor(key)
    guard Box.fits(ranges, in: tensor.spec.shape) else {
      throw Fault(
        .badRequest, "ranges \(ranges) are outside of shape \(tensor.spec.shape)",
        at: .tensor(key, file: folder))
    }
    return tensor
  }

  private func tensor(_ key: String) throws(Fault) -> StoredTensor {
    guard let tensor = index.tensors[key] else {
      throw Fault(
        .missingTensor, "the checkpoint has no such tensor", at: .tensor(key, file: folder))
    }
    return tensor
  }

  func source(_ place: ItemLocation) throws(Fault) -> ByteSource {
    try ByteSource(try file(place.file), offset: place.offset, count: place.length)
  }

  /// Keeps files open; drops all when there are too many, those in use live on.
  private func file(_ name: String) throws(Fault) -> PosixFile {
    try open.withLock { (files) throws(Fault) -> PosixFile in
      if let file = files[name] { return file }
      let file = try PosixFile(reading: folder + "/" + name, use: use)
      if files.count >= Self.openLimit { files = [:] }
      files[name] = file
      return file
    }
  }
}
