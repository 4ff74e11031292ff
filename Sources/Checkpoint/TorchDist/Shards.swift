import Support
import Tensor

/// The bytes of a piece, given in as many parts as the producer likes.
public typealias ByteStream =
  ((UnsafeRawBufferPointer) throws(Fault) -> Void) throws(Fault) -> Void

/// One piece of a tensor that a rank has to write.
public struct TensorShard {
  /// Key, type and global shape.
  public let spec: TensorSpec
  /// The place of the piece.
  public let box: Box
  /// Row-major little-endian bytes of the piece.
  let stream: ByteStream

  public init(_ spec: TensorSpec, box: Box, stream: @escaping ByteStream) {
    self.spec = spec
    self.box = box
    self.stream = stream
  }

  /// A piece that lies in memory, which must stay valid until it is written.
  public init(_ spec: TensorSpec, box: Box, bytes: UnsafeRawBufferPointer) {
    self.init(spec, box: box) { (emit) throws(Fault) in try emit(bytes) }
  }

  /// A whole tensor in memory.
  public init(_ spec: TensorSpec, bytes: UnsafeRawBufferPointer) {
    self.init(spec, box: Box(shape: spec.shape), bytes: bytes)
  }

  var byteCount: Int { box.count * spec.dtype.size }
}

/// A byte object that a rank has to write, an archive of one value.
public struct ObjectShard: Sendable {
  /// The full key, for Megatron `<key>/shard_<offset>_<shape>`.
  public let key: String
  let value: PickleValue
  package let storages: [(key: String, bytes: [UInt8])]

  /// An object without tensors.
  public init(_ key: String, value: PickleValue) {
    self.init(key, value: value, storages: [])
  }

  init(_ key: String, value: PickleValue, storages: [(key: String, bytes: [UInt8])]) {
    self.key = key
    self.value = value
    self.storages = storages
  }

  /// A list of one byte tensor: the form of `_extra_state` objects.
  public static func byteTensor(_ key: String, _ bytes: [UInt8]) -> ObjectShard {
    let record = TensorRecord(dtype: .uint8, shape: [bytes.count], storageKey: "0")
    return ObjectShard(key, value: .list([record.pickle]), storages: [("0", bytes)])
  }

  /// An object key for one shard of a grid, `rng_state/shard_0.1_1.2`.
  public static func key(_ name: String, offset: [Int], shape: [Int]) -> String {
    func join(_ numbers: [Int]) -> String { numbers.map(String.init).joined(separator: ".") }
    return "\(name)/shard_\(join(offset))_\(join(shape))"
  }
}
