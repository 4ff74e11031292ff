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
    for bucket in deal(tensors, objects, rank: rank, files: max(files, 1)) {
      let name = bucket.name
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

  /// What goes into one file.
  struct Bucket {
    var name = ""
    var objects: [ObjectShard] = []
    var tensors: [TensorShard] = []
    var bytes = 0
  }

  /// Largest tensors first, each into the lightest file; objects in turn. Empty files are left out.
  static func deal(
    _ tensors: [TensorShard], _ objects: [ObjectShard], rank: Int, files: Int
  ) -> [Bucket] {
    var buckets = [Bucket](repeating: Bucket(), count: files)
    for (i, object) in objects.enumerated() { buckets[i % files].objects.append(object) }
    let order =
      files == 1
      ? Array(tensors.indices)
      : tensors.indices.sorted {
        (tensors[$1].byteCount, $0) < (tensors[$0].byteCount, $1)
      }
    for i in order {
      let lightest = buckets.indices.min { buckets[$0].bytes < buckets[$1].bytes } ?? 0
      buckets[lightest].tensors.append(tensors[i])
      buckets[lightest].bytes += tensors[i].byteCount
    }
    buckets.removeAll { $0.objects.isEmpty && $0.tensors.isEmpty }
    for i in buckets.indices { buckets[i].name = "__\(rank)_\(i).distcp" }
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
  let file: BlockFile
  var position = 0
  var digest = CRC32C()

  init(_ path: String, name: String) throws(Fault) {
    self.name = name
    file = try BlockFile(creating: path, copy: PassingCopy.run)
  }

  mutating func add(_ object: ObjectShard) throws(Fault) -> WrittenItem {
    let archive = try object.write(to: file, at: position)
    return WrittenItem(
      key: object.key, content: object.content, location: advance(archive),
      crc32c: archive.digest.value)
  }

  mutating func add(_ tensor: TensorShard) throws(Fault) -> WrittenItem {
    let archive = try tensor.write(to: file, at: position)
    return WrittenItem(
      key: tensor.spec.name, content: tensor.content, location: advance(archive),
      crc32c: archive.digest.value)
  }

  private mutating func advance(_ archive: TorchArchiveWriter) -> ItemLocation {
    let place = ItemLocation(file: name, offset: position, length: archive.position)
    position += archive.position
    digest.append(archive.digest)
    return place
  }

  func finish() throws(Fault) -> WrittenFile {
    try file.settle()
    return WrittenFile(name: name, size: position, crc32c: digest.value)
  }
}
