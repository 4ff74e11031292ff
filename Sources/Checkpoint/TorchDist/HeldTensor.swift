import Support
import Tensor

/// A piece of a tensor with its bytes in memory of its own: what is written in the background while
/// training changes the original.
public struct HeldTensor: Sendable {
  private let spec: TensorSpec
  private let box: Box
  private let bytes: [UInt8]

  /// Copies the piece.
  /// - Throws: what its source throws.
  public init(_ shard: TensorShard) throws(Fault) {
    spec = shard.spec
    box = shard.box
    var copy: [UInt8] = []
    copy.reserveCapacity(shard.byteCount)
    try shard.stream { (part) throws(Fault) in copy.append(contentsOf: part) }
    bytes = copy
  }

  public var byteCount: Int { bytes.count }

  public var shard: TensorShard {
    let bytes = bytes
    return TensorShard(spec, box: box) { (emit) throws(Fault) in
      try bytes.withRaw { (raw) throws(Fault) in try emit(raw) }
    }
  }
}
