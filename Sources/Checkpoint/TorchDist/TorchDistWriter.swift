import Support
import Tensor

/// Writes `torch_dist` checkpoints from any number of ranks.
///
///     every rank:  let report = try TorchDistWriter.write(shards, to: folder, rank: rank)
///     rank 0:      try TorchDistWriter.finish(folder, reports: allReports, common: state)
///
/// The caller sends the reports to rank 0. A tensor may be cut in any way that tiles it; a piece
/// that several ranks hold is written by one of them.
public enum TorchDistWriter {
  /// Writes the files `__<rank>_<i>.distcp` of one rank, objects first, and flushes them.
  /// - Parameters:
  ///   - files: how many files to deal the items to; empty ones are not made.
  ///   - probe: called at the named points, for fault injection.
  /// - Throws: `CKPT-104`, `FILE-003`.
  public static func write(
    tensors: [TensorShard], objects: [ObjectShard] = [], to folder: String, rank: Int,
    files: Int = 1, probe: CommitProbe = .none
  ) throws(Fault) -> RankReport {
    var items: [WrittenItem] = []
    var written: [WrittenFile] = []
    let buckets = deal(tensors, objects, files: max(files, 1))
    for (number, bucket) in buckets.filter({ !$0.isEmpty }).enumerated() {
      let name = "__\(rank)_\(number).distcp"
      try probe.at(.beforeData)
      var file = try DistFile(folder + "/" + name, name: name)
      for object in bucket.objects { items.append(try file.add(object)) }
      for (i, tensor) in bucket.tensors.enumerated() {
        if i == bucket.tensors.count / 2 { try probe.at(.midData) }
        items.append(try file.add(tensor))
      }
      try probe.at(.afterData)
      written.append(try file.finish())
      try probe.at(.afterDataSync)
    }
    return RankReport(rank: rank, items: items, files: written)
  }

  private struct Bucket {
    var objects: [ObjectShard] = []
    var tensors: [TensorShard] = []
    var bytes = 0
    var isEmpty: Bool { objects.isEmpty && tensors.isEmpty }
  }

  /// Largest tensors first, each into the lightest file; objects in turn.
  private static func deal(
    _ tensors: [TensorShard], _ objects: [ObjectShard], files: Int
  ) -> [Bucket] {
    var buckets = [Bucket](repeating: Bucket(), count: files)
    for (i, object) in objects.enumerated() { buckets[i % files].objects.append(object) }
    let order =
      files == 1
      ? Array(tensors.indices)
      : tensors.indices.sorted { tensors[$0].byteCount > tensors[$1].byteCount }
    for i in order {
      let lightest = buckets.indices.min { buckets[$0].bytes < buckets[$1].bytes } ?? 0
      buckets[lightest].tensors.append(tensors[i])
      buckets[lightest].bytes += tensors[i].byteCount
    }
    return buckets
  }

  /// Writes `common.pt`, `.metadata` and `metadata.json`, in this order, and flushes them.
  /// - Parameter reports: of all ranks; their items must tile every tensor.
  /// - Returns: these files and those of the reports, for the manifest.
  /// - Throws: `CKPT-132` when pieces are missing or double, `CKPT-104`, `FILE-003`.
  public static func finish(
    _ folder: String, reports: [RankReport], common: CommonState
  ) throws(Fault) -> [WrittenFile] {
    let index = try DistIndexEncoder.encode(reports)
    let commonFile = try common.write(to: folder)
    let indexFile = try writeNew(index, folder, ".metadata")
    let kind = try writeNew(Array(FormatRecord.text.utf8), folder, FormatRecord.name)
    return reports.flatMap(\.filesWithItems) + [commonFile, indexFile, kind]
  }

  static func writeNew(
    _ bytes: [UInt8], _ folder: String, _ name: String
  ) throws(Fault) -> WrittenFile {
    let file = try PosixFile(creating: folder + "/" + name)
    try bytes.withRaw { (raw) throws(Fault) in try file.write(raw, at: 0) }
    try file.sync()
    return WrittenFile(name: name, size: bytes.count, crc32c: CRC32C(bytes).value)
  }
}

/// One `.distcp` file in the making: archives one after another.
private struct DistFile {
  let name: String
  let file: PosixFile
  var position = 0
  var digest = CRC32C()

  init(_ path: String, name: String) throws(Fault) {
    self.name = name
    file = try PosixFile(creating: path)
  }

  mutating func add(_ object: ObjectShard) throws(Fault) -> WrittenItem {
    var archive = TorchArchiveWriter(file, base: position)
    try archive.write(
      object.value,
      storages: object.storages.map { storage in
        (
          storage.key, storage.bytes.count,
          { (emit) throws(Fault) in
            try storage.bytes.withRaw { (raw) throws(Fault) in try emit(raw) }
          }
        )
      })
    return WrittenItem(
      key: object.key, content: .object, location: advance(archive),
      crc32c: archive.digest.value)
  }

  mutating func add(_ tensor: TensorShard) throws(Fault) -> WrittenItem {
    let (spec, box) = (tensor.spec, tensor.box)
    let fits =
      box.sizes.count == spec.shape.count && box.offsets.count == spec.shape.count
      && spec.shape.indices.allSatisfy {
        box.offsets[$0] >= 0 && box.sizes[$0] >= 0
          && box.offsets[$0] + box.sizes[$0] <= spec.shape[$0]
      }
    guard fits else {
      throw Fault(
        .badTiling, "the piece at \(box.offsets) of \(box.sizes) leaves the shape \(spec.shape)",
        at: .tensor(spec.name, file: file.path))
    }
    var archive = TorchArchiveWriter(file, base: position)
    let record = TensorRecord(dtype: spec.dtype, shape: box.sizes, storageKey: "0")
    try archive.write(record.pickle, storages: [("0", tensor.byteCount, tensor.stream)])
    return WrittenItem(
      key: spec.name, content: .tensor(spec.dtype, globalShape: spec.shape, box: box),
      location: advance(archive), crc32c: archive.digest.value)
  }

  private mutating func advance(_ archive: TorchArchiveWriter) -> ItemLocation {
    let place = ItemLocation(file: name, offset: position, length: archive.position)
    position += archive.position
    digest.append(archive.digest)
    return place
  }

  func finish() throws(Fault) -> WrittenFile {
    try file.sync()
    return WrittenFile(name: name, size: position, crc32c: digest.value)
  }
}
