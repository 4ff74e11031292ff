import Support
import Tensor

/// An object of a checkpoint: an inert value, and the tensors in it on demand.
public struct StoredObject: Sendable {
  let archive: TorchArchive
  public var value: PickleValue { archive.value }

  /// The tensor that a part of `value` stands for, or nil when it stands for none.
  /// - Throws: `CKPT-121` to `CKPT-123`.
  public func tensor(_ part: PickleValue) throws(Fault) -> (spec: TensorSpec, bytes: [UInt8])? {
    guard let record = try TensorRecord(part, path: archive.zip.source.path) else { return nil }
    return (TensorSpec("", record.dtype, record.shape), try archive.tensor(record))
  }
}
