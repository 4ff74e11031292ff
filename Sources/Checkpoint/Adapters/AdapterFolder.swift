import Support
import Tensor

// r rank   i inputs   o outputs

/// A PEFT folder: `adapter_config.json` and `adapter_model.safetensors`, by published module.
public struct AdapterFolder: Sendable {
  public static let weightsName = "adapter_model.safetensors"

  /// The two halves of a module's adapter as stored.
  public struct Module: Sendable {
    /// Published path: `model.layers.0.self_attn.q_proj`.
    public let path: String
    public let a: TensorSpec  // [r, i], of a convolution [r, i…]
    public let b: TensorSpec  // [o, r], of a convolution with dims of 1 after them
    /// An adapter of a table of rows: A `[r, rows]`, B `[width, r]`.
    public let isTable: Bool
  }

  public let path: String
  public let config: AdapterConfig
  public let modules: [Module]
  /// Weights stored whole, with the name of their tensor in the file.
  public let saved: [(published: String, tensor: TensorSpec)]
  private let file: SafetensorsFile

  private static let prefix = "base_model.model."

  /// - Throws: `FILE-001`, `CKPT-101`, `CKPT-161` for a tensor that is no part of an adapter or a half
  ///   without the other.
  public init(_ path: String) throws(Fault) {
    self.path = path
    config = try AdapterConfig(folder: path)
    let name = path + "/" + Self.weightsName
    guard Folder.kind(name) == .file else {
      let isOld = Folder.kind(path + "/adapter_model.bin") == .file
      throw Fault(
        .missingFile, "the adapter has no \(Self.weightsName)", at: .file(path),
        found: isOld ? "adapter_model.bin" : nil,
        fix: isOld ? "save it again as safetensors" : nil)
    }
    file = try SafetensorsFile(name)
    var halves: [String: (a: TensorSpec?, b: TensorSpec?)] = [:]
    var order: [String] = []
    var saved: [(String, TensorSpec)] = []
    for spec in file.tensors {
      guard let key = Self.key(spec.name) else { throw Self.odd(spec, name) }
      guard case .half(let module, let isA) = key else {
        if case .whole(let published) = key { saved.append((published, spec)) }
        continue
      }
      guard spec.shape.count >= 2 else { throw Self.odd(spec, name) }
      if halves[module] == nil { order.append(module) }
      var pair = halves[module] ?? (nil, nil)
      if isA { pair.a = spec } else { pair.b = spec }
      halves[module] = pair
    }
    self.saved = saved
    modules = try Self.pairs(order, halves, name)
  }

  private static func pairs(
    _ order: [String], _ halves: [String: (a: TensorSpec?, b: TensorSpec?)], _ file: String
  ) throws(Fault) -> [Module] {
    var modules: [Module] = []
    for path in order {
      guard let a = halves[path]?.a, let b = halves[path]?.b, a.shape[0] == b.shape[1] else {
        throw Fault(
          .badAdapter, "\(path) does not have two halves of one rank", at: .file(file),
          expected: "lora_A [r, inputs] and lora_B [outputs, r]")
      }
      modules.append(
        Module(path: path, a: a, b: b, isTable: a.name.contains(".lora_embedding_A")))
    }
    return modules
  }

  private enum Key {
    case half(module: String, isA: Bool)
    case whole(String)
  }

  private static func odd(_ spec: TensorSpec, _ file: String) -> Fault {
    Fault(
      .badAdapter, "the tensor is no part of an adapter that is known here",
      at: .tensor(spec.name, file: file), expected: "\(prefix)<module>.lora_A.weight, …",
      found: "\(spec.shape)")
  }

  private static func key(_ name: String) -> Key? {
    guard name.hasPrefix(prefix) else { return nil }
    var rest = name.dropFirst(prefix.count)
    for (half, isA) in [("A", true), ("B", false)] {
      for ending in [
        ".lora_\(half).weight", ".lora_\(half).default.weight", ".lora_embedding_\(half)",
        ".lora_embedding_\(half).default",
      ] where rest.hasSuffix(ending) {
        return .half(module: String(rest.dropLast(ending.count)), isA: isA)
      }
    }
    guard !rest.contains(".lora_") else { return nil }
    for word in [".modules_to_save.default", ".modules_to_save", ".base_layer"] {
      if let range = rest.range(of: word) { rest.removeSubrange(range) }
    }
    return .whole(String(rest))
  }

  /// A stored tensor, widened.
  /// - Throws: `CKPT-161` for a type that is no float; `FILE-002`.
  public func floats(_ spec: TensorSpec) throws(Fault) -> [Float] {
    let bytes = try file.bytes(spec.name)
    func elements<T: BitwiseCopyable>(_ type: T.Type) -> [T] {
      bytes.withUnsafeBytes { raw in
        (0..<spec.count).map {
          raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<T>.size, as: T.self)
        }
      }
    }
    switch spec.dtype {
    case .float32: return elements(Float.self)
    case .bfloat16: return elements(UInt16.self).map { BF16(bits: $0).float }
    case .float16: return elements(UInt16.self).map { Float(halfBits: $0) }
    default:
      throw Fault(
        .badAdapter, "\(spec.dtype.rawValue) is no type of adapters",
        at: .tensor(spec.name, file: path), expected: "F32, BF16 or F16")
    }
  }

  /// A run of elements of a tensor of the file, in its type.
  public func read(
    _ tensor: String, elements: Range<Int>, into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try file.read(tensor, elements: elements, into: target)
  }
}

extension Float {
  /// A half-precision number by its bits.
  fileprivate init(halfBits bits: UInt16) {
    let sign: Float = bits & 0x8000 == 0 ? 1 : -1
    let exponent = Int(bits >> 10 & 0x1F)
    let fraction = Float(bits & 0x3FF)
    switch exponent {
    case 0: self = sign * fraction * 0x1p-24
    case 31: self = fraction == 0 ? sign * .infinity : .nan
    default:
      self = sign * Float(sign: .plus, exponent: exponent - 15, significand: 1 + fraction / 1024)
    }
  }
}
