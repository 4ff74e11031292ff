import Support
import Tensor

/// A tensor as `data.pkl` describes it: a view of a storage of the archive.
///
/// - Source: `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`.
struct TensorRecord: Sendable, Equatable {
  var dtype: DType
  var shape: [Int]
  var strides: [Int]
  /// In elements.
  var offset: Int
  var storageKey: String
  /// Elements of the storage as the pickle says, in `dtype`.
  var storageCount: Int

  static let rankLimit = 32

  /// Reads a call of a rebuild function; nil when `value` is no such call.
  /// - Throws: `CKPT-123` when it is one and does not fit.
  init?(_ value: PickleValue, path: String) throws(Fault) {
    guard case .call(let name, let arguments) = value, name.module == "torch._utils" else {
      return nil
    }
    func bad(_ message: String) -> Fault {
      Fault(.badTensorRecord, "a stored tensor \(message)", at: .file(path))
    }
    switch name.name {
    case "_rebuild_parameter":
      guard let inner = arguments.first, let record = try TensorRecord(inner, path: path) else {
        throw bad("is a parameter without data")
      }
      self = record
      return
    case "_rebuild_tensor_v2", "_rebuild_tensor_v3": break
    default: return nil
    }
    guard arguments.count >= 6, case .persistent(let id) = arguments[0], let parts = id.items,
      parts.count == 5, parts[0].text == "storage", let storage = parts[1].name,
      let key = parts[2].text, let count = parts[4].int, count >= 0
    else { throw bad("has no storage") }
    guard let offset = arguments[1].int, offset >= 0, let shape = Self.sizes(arguments[2]),
      let strides = Self.sizes(arguments[3]), shape.count == strides.count,
      shape.count <= Self.rankLimit
    else { throw bad("has a refused shape or stride") }
    let typed = storage.module == "torch" ? TorchTypes.storageClasses[storage.name] : nil
    let named = arguments.count > 6 ? arguments[6].name : nil
    guard let dtype = named.flatMap({ TorchTypes.dtypes[$0.name] }) ?? typed else {
      throw bad("has an unknown type (\(storage))")
    }
    // An untyped storage counts bytes.
    let elements = typed == nil ? count / dtype.size : count
    (self.dtype, self.shape, self.strides) = (dtype, shape, strides)
    (self.offset, storageKey, storageCount) = (offset, key, elements)
    try checkBounds(bad)
  }

  /// A whole, contiguous storage.
  init(dtype: DType, shape: [Int], storageKey: String) {
    (self.dtype, self.shape, self.storageKey) = (dtype, shape, storageKey)
    strides = Self.contiguous(shape)
    offset = 0
    storageCount = shape.reduce(1, *)
  }

  var count: Int { shape.reduce(1, *) }
  var byteCount: Int { count * dtype.size }

  /// Whether the elements lie one after another in row-major order.
  var isContiguous: Bool {
    count == 0
      || zip(shape, zip(strides, Self.contiguous(shape))).allSatisfy { $0 == 1 || $1.0 == $1.1 }
  }

  private func checkBounds(_ bad: (String) -> Fault) throws(Fault) {
    guard let count = checkedProduct(shape, times: dtype.size) else {
      throw bad("has a shape that overflows: \(shape)")
    }
    if count == 0 { return }
    var last = offset
    for (size, stride) in zip(shape, strides) {
      let (step, over) = (size - 1).multipliedReportingOverflow(by: stride)
      let (sum, over2) = last.addingReportingOverflow(step)
      guard !over, !over2 else { throw bad("reaches beyond its storage") }
      last = sum
    }
    guard last < storageCount else {
      throw bad("reaches element \(last) of a storage of \(storageCount)")
    }
  }

  static func contiguous(_ shape: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: shape.count)
    for axis in stride(from: shape.count - 2, through: 0, by: -1) {
      strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    }
    return strides
  }

  /// Non-negative integers of a tuple, a list or `torch.Size`.
  static func sizes(_ value: PickleValue) -> [Int]? {
    if case .call(PickleName("torch", "Size"), let arguments) = value {
      return arguments.count == 1 ? sizes(arguments[0]) : nil
    }
    guard let items = value.items else { return nil }
    let sizes = items.compactMap(\.int)
    return sizes.count == items.count && sizes.allSatisfy { $0 >= 0 } ? sizes : nil
  }

  /// How the record is written.
  var pickle: PickleValue {
    let dict = PickleValue.call(PickleName("collections", "OrderedDict"), [])
    let numbers = { (values: [Int]) in PickleValue.tuple(values.map { .int($0) }) }
    let typed = TorchTypes.storageClass(dtype)
    let storage =
      typed.map { PickleName("torch", $0) } ?? PickleName("torch.storage", "UntypedStorage")
    let id = PickleValue.tuple([
      .text("storage"), .global(storage), .text(storageKey), .text("cpu"),
      .int(typed == nil ? storageCount * dtype.size : storageCount),
    ])
    var arguments: [PickleValue] = [
      .persistent(id), .int(offset), numbers(shape), numbers(strides), .bool(false), dict,
    ]
    if typed != nil { return .call(PickleName("torch._utils", "_rebuild_tensor_v2"), arguments) }
    arguments.append(.global(PickleName("torch", TorchTypes.dtypeName(dtype))))
    return .call(PickleName("torch._utils", "_rebuild_tensor_v3"), arguments)
  }
}
