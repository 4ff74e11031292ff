import Support
import Tensor

extension ObjectShard {
  var content: WrittenItem.Content { .object }

  /// Writes the archive of the object at a place of a file.
  /// - Throws: `FILE-003`.
  func write(to file: BlockFile, at offset: Int) throws(Fault) -> TorchArchiveWriter {
    var archive = TorchArchiveWriter(file, base: offset)
    try archive.write(
      value,
      storages: storages.map { storage in
        (
          storage.key, storage.bytes.count,
          { (emit) throws(Fault) in
            try storage.bytes.withRaw { (raw) throws(Fault) in try emit(raw) }
          }
        )
      })
    return archive
  }
}

extension TensorShard {
  var content: WrittenItem.Content { .tensor(spec.dtype, globalShape: spec.shape, box: box) }

  /// Writes the archive of the piece at a place of a file.
  /// - Throws: `CKPT-132` for a piece outside of its tensor, `CKPT-104`, `FILE-003`.
  func write(to file: BlockFile, at offset: Int) throws(Fault) -> TorchArchiveWriter {
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
    var archive = TorchArchiveWriter(file, base: offset)
    let record = TensorRecord(dtype: spec.dtype, shape: box.sizes, storageKey: "0")
    try archive.write(record.pickle, storages: [("0", byteCount, stream)])
    return archive
  }
}

/// A `.distcp` file that is written as units: one archive each.
public struct DistUnits {
  public let file: UnitFile
  private let contents: [WrittenItem.Content]

  /// Deals pieces and objects to files, as `TorchDistWriter.write` does for the rank 0.
  ///
  /// Names and bytes do not depend on who writes which file.
  public static func files(
    tensors: [TensorShard], objects: [ObjectShard], count: Int
  ) -> [DistUnits] {
    TorchDistWriter.deal(tensors, objects, rank: 0, files: max(count, 1)).map(DistUnits.init)
  }

  private init(_ bucket: TorchDistWriter.Bucket) {
    var units: [UnitFile.Unit] = []
    func unit(
      _ key: String, _ bytes: Int,
      _ write: @escaping (BlockFile, Int) throws(Fault) -> TorchArchiveWriter
    ) {
      units.append(
        UnitFile.Unit(key: key, byteCount: bytes) { (file, offset) throws(Fault) in
          let archive = try write(file, offset)
          return WrittenUnit(length: archive.position, crc32c: archive.digest.value)
        })
    }
    for object in bucket.objects { unit(object.key, 0, object.write) }
    for tensor in bucket.tensors { unit(tensor.spec.name, tensor.byteCount, tensor.write) }
    file = UnitFile(name: bucket.name, units: units)
    contents = bucket.objects.map(\.content) + bucket.tensors.map(\.content)
  }

  /// What the index has to say of the file.
  public func report(_ written: [WrittenUnit]) -> RankReport {
    var offset = 0
    var digest = CRC32C()
    var items: [WrittenItem] = []
    for (i, unit) in written.enumerated() {
      let place = ItemLocation(file: file.name, offset: offset, length: unit.length)
      items.append(
        WrittenItem(
          key: file.units[i].key, content: contents[i], location: place,
          crc32c: unit.crc32c))
      digest.append(CRC32C(value: unit.crc32c, count: unit.length))
      offset += unit.length
    }
    return RankReport(
      rank: 0, items: items,
      files: [WrittenFile(name: file.name, size: offset, crc32c: digest.value)])
  }
}
