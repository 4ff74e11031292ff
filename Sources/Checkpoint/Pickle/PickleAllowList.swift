import Support

/// A name that a pickle imports: module and attribute, `torch` and `Size`.
public struct PickleName: Sendable, Hashable, CustomStringConvertible {
  public let module: String
  public let name: String

  public init(_ module: String, _ name: String) {
    self.module = module
    self.name = name
  }

  public var description: String { "\(module).\(name)" }
}

/// The names a pickle may mention in a context; all others are refused before anything is built.
public struct PickleAllowList: Sendable {
  let names: Set<PickleName>
  let anything: Bool

  /// No names at all: numbers, texts, lists and dictionaries only.
  public static let plainData = PickleAllowList(names: [], anything: false)

  /// Names stay inert whatever they are; the interpreter decides which ones it needs.
  static let inert = PickleAllowList(names: [], anything: true)

  /// A stored tensor.
  public static let tensor = PickleAllowList(names: tensorNames, anything: false)

  /// An object item that we use: tensors, numpy arrays, byte buffers.
  public static let object = PickleAllowList(
    names: tensorNames.union([
      PickleName("numpy.core.multiarray", "_reconstruct"),
      PickleName("numpy._core.multiarray", "_reconstruct"),
      PickleName("numpy", "ndarray"), PickleName("numpy", "dtype"),
      PickleName("_codecs", "encode"), PickleName("io", "BytesIO"),
    ]), anything: false)

  static let tensorNames: Set<PickleName> = {
    var names: Set<PickleName> = [
      PickleName("torch._utils", "_rebuild_tensor_v2"),
      PickleName("torch._utils", "_rebuild_tensor_v3"),
      PickleName("torch._utils", "_rebuild_parameter"),
      PickleName("torch.storage", "UntypedStorage"), PickleName("torch.storage", "TypedStorage"),
      PickleName("collections", "OrderedDict"), PickleName("torch", "Size"),
    ]
    for name in TorchTypes.storageClasses.keys { names.insert(PickleName("torch", name)) }
    for name in TorchTypes.dtypes.keys { names.insert(PickleName("torch", name)) }
    return names
  }()

  func allows(_ name: PickleName) -> Bool { anything || names.contains(name) }
}
