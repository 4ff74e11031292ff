import CKernels
import Support

/// Memory of a tensor, returned to its arena when the last tensor on it goes.
///
/// Unchecked: tensors are handed over, never shared, between threads (style 4.8).
public final class Storage: @unchecked Sendable {
  public let address: UnsafeMutableRawPointer?
  public let byteCount: Int
  public let engine: Engine
  private let isOwned: Bool

  /// - Throws: `MEM-001`.
  public init(byteCount: Int, engine: Engine) throws(Fault) {
    self.byteCount = byteCount
    self.engine = engine
    isOwned = true
    address = engine.isPlanning ? nil : try engine.arena.take(byteCount)
  }

  /// Memory that somebody else owns and keeps alive longer than this storage (mapped files,
  /// shared windows).
  public init(borrowing address: UnsafeMutableRawPointer, byteCount: Int, engine: Engine) {
    self.address = address
    self.byteCount = byteCount
    self.engine = engine
    isOwned = false
  }

  deinit { if isOwned, let address { engine.arena.give(address, bytes: byteCount) } }
}

/// A contiguous, row-major array. A handle: copies share the memory.
public struct Tensor: Sendable {
  public let shape: [Int]
  public let dtype: DType
  public let storage: Storage
  /// Byte offset of the first element, for tensors inside a flat buffer.
  public let offset: Int
  /// A weight that lies in panels (`inPanels`): forward products read it, nothing else does.
  public let isPanels: Bool

  /// Uninitialised memory.
  /// - Throws: `MEM-001`.
  public init(_ shape: [Int], _ dtype: DType, on engine: Engine) throws(Fault) {
    self.shape = shape
    self.dtype = dtype
    offset = 0
    isPanels = false
    storage = try Storage(byteCount: shape.reduce(dtype.size, *), engine: engine)
  }

  public init(_ shape: [Int], _ dtype: DType, storage: Storage, offset: Int = 0) {
    precondition(offset >= 0 && offset + shape.reduce(dtype.size, *) <= storage.byteCount)
    self.shape = shape
    self.dtype = dtype
    self.storage = storage
    self.offset = offset
    isPanels = false
  }

  init(_ shape: [Int], _ dtype: DType, panels storage: Storage) {
    self.shape = shape
    self.dtype = dtype
    self.storage = storage
    offset = 0
    isPanels = true
  }

  public var engine: Engine { storage.engine }
  public var count: Int { shape.reduce(1, *) }
  public var byteCount: Int { count * dtype.size }
  /// Size of the first dim.
  public var rows: Int { shape.first ?? 1 }
  /// Elements of one row.
  public var rowSize: Int { shape.dropFirst().reduce(1, *) }

  /// Address of the first element. Only for engines that compute.
  public var address: UnsafeMutableRawPointer {
    guard let base = storage.address else {
      preconditionFailure("a planning tensor has no memory")
    }
    return base + offset
  }

  public func pointer<T>(as type: T.Type) -> UnsafeMutablePointer<T> {
    address.assumingMemoryBound(to: type)
  }
  public var floats: UnsafeMutableBufferPointer<Float> {
    precondition(dtype == .float32)
    return UnsafeMutableBufferPointer(start: pointer(as: Float.self), count: count)
  }
  public var bytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: address, count: byteCount)
  }

  /// The same memory under another shape.
  public func reshaped(_ shape: [Int]) -> Tensor {
    precondition(shape.reduce(1, *) == count && !isPanels)
    return Tensor(shape, dtype, storage: storage, offset: offset)
  }

  /// Rows `range` of the first dim, without a copy. Never recorded on a tape.
  public func rowRange(_ range: Range<Int>) -> Tensor {
    precondition(!isPanels)
    return Tensor(
      [range.count] + shape.dropFirst(), dtype, storage: storage,
      offset: offset + range.lowerBound * rowSize * dtype.size)
  }
}

extension DType {
  /// The kernels' name of a compute type; only fp32 and bf16 are computed with.
  public var kernelType: ck_dtype {
    precondition(self == .float32 || self == .bfloat16, "no kernels for \(self)")
    return self == .float32 ? CK_F32 : CK_BF16
  }
}
