import Support

/// A plain tree of what a pickle holds; also what the encoder writes.
///
/// A call or an object is inert: the name it would use and its data.
public indirect enum PickleValue: Sendable, Equatable {
  case none
  case bool(Bool)
  case int(Int)
  /// An integer beyond 64 bits: little-endian two's complement.
  case bigInt([UInt8])
  case float(Double)
  case text(String)
  case bytes([UInt8])
  case tuple([PickleValue])
  case list([PickleValue])
  case set([PickleValue])
  case dict([PickleMember])
  case global(PickleName)
  case call(PickleName, [PickleValue])
  /// An object with its state; `.none` when it has none.
  case object(PickleName, state: PickleValue)
  /// An object whose data this reader does not keep (constructor arguments, added items); written
  /// it is only the name.
  case opaque(PickleName)
  /// A reference to a storage of the archive.
  case persistent(PickleValue)

  /// A dictionary from texts.
  public static func dictionary(_ members: [(String, PickleValue)]) -> PickleValue {
    .dict(members.map { PickleMember(key: .text($0.0), value: $0.1) })
  }

  /// The member of a dictionary, or of an object whose state is a dictionary; the last one wins.
  public subscript(key: String) -> PickleValue? {
    members?.last { $0.key == .text(key) }?.value
  }

  public subscript(key: Int) -> PickleValue? { members?.last { $0.key == .int(key) }?.value }

  public var members: [PickleMember]? {
    switch self {
    case .dict(let members): return members
    case .object(_, let state): return state.members
    default: return nil
    }
  }

  public var isNone: Bool { self == .none }
  public var int: Int? { if case .int(let value) = self { value } else { nil } }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var text: String? { if case .text(let value) = self { value } else { nil } }
  public var name: PickleName? { if case .global(let value) = self { value } else { nil } }
  /// A float or an integer, rounded when it has more than 53 bits.
  public var double: Double? {
    switch self {
    case .float(let value): return value
    case .int(let value): return Double(value)
    case .bigInt(let bytes):
      guard let last = bytes.last else { return 0 }
      let high = Double(Int8(bitPattern: last))
      return bytes.dropLast().reversed().reduce(high) { $0 * 256 + Double($1) }
    default: return nil
    }
  }
  /// The items of a list or a tuple.
  public var items: [PickleValue]? {
    switch self {
    case .list(let items), .tuple(let items): return items
    default: return nil
    }
  }
}

/// A key with its value.
public struct PickleMember: Sendable, Equatable {
  public let key: PickleValue
  public let value: PickleValue

  public init(key: PickleValue, value: PickleValue) {
    self.key = key
    self.value = value
  }
}

extension PickleValue {
  /// Decodes a pickle into a plain tree.
  /// - Throws: `CKPT-111`, `CKPT-112` for a name that is not allowed, `CKPT-113`.
  public static func decode(
    _ bytes: [UInt8], path: String = "pickle", allow: PickleAllowList = .plainData,
    limits: PickleLimits = PickleLimits()
  ) throws(Fault) -> PickleValue {
    let graph = try PickleDecoder.decode(bytes, path: path, allow: allow, limits: limits)
    return try graph.value(graph.root, path: path, limits: limits)
  }
}

extension PickleGraph {
  /// The plain tree below a node.
  ///
  /// Shared nodes are written out, so a small pickle could grow without bound: `limits.expanded`
  /// and `limits.depth` stop that, also for a container that holds itself.
  func value(_ index: Index, path: String, limits: PickleLimits) throws(Fault) -> PickleValue {
    var budget = limits.expanded
    return try value(index, path: path, limits: limits, budget: &budget, depth: 0)
  }

  private func value(
    _ index: Index, path: String, limits: PickleLimits, budget: inout Int, depth: Int
  ) throws(Fault) -> PickleValue {
    budget -= 1
    guard budget >= 0 else {
      throw Fault(
        .pickleTooLarge, "the pickle unfolds to more than \(limits.expanded) values",
        at: .file(path))
    }
    guard depth <= limits.depth else {
      throw Fault(
        .pickleTooLarge, "the pickle is nested deeper than \(limits.depth)", at: .file(path))
    }
    func all(_ items: some Sequence<Index>) throws(Fault) -> [PickleValue] {
      var values: [PickleValue] = []
      for item in items {
        values.append(
          try value(item, path: path, limits: limits, budget: &budget, depth: depth + 1))
      }
      return values
    }
    func members(_ items: [Index]) throws(Fault) -> PickleValue {
      let values = try all(items)
      return .dict(
        stride(from: 0, to: values.count, by: 2).map {
          PickleMember(key: values[$0], value: values[$0 + 1])
        })
    }
    switch self[index] {
    case .none: return .none
    case .bool(let value): return .bool(value)
    case .int(let value): return .int(value)
    case .float(let value): return .float(value)
    case .bigInt(let at, let count): return .bigInt(slice(at, count))
    case .bytes(let at, let count): return .bytes(slice(at, count))
    case .text:
      guard let text = text(index) else {
        throw Fault(.badPickle, "a text of the pickle is not UTF-8", at: .file(path))
      }
      return .text(text)
    case .global(let number): return .global(names[Int(number)])
    case .tuple: return .tuple(try all(tuple(index) ?? []))
    case .list(let number): return .list(try all(lists[Int(number)]))
    case .set(let number), .frozenSet(let number): return .set(try all(lists[Int(number)]))
    case .dict(let number): return try members(lists[Int(number)])
    case .persistent(let id): return .persistent(try all([id])[0])
    case .call(let number):
      if let items = dict(index) { return try members(items) }
      let build = builds[Int(number)]
      guard let (name, arguments) = call(index) else { return .none }
      guard build.state < 0, build.items < 0, build.members < 0 else { return .opaque(name) }
      return .call(name, try all(arguments))
    case .object(let number):
      let build = builds[Int(number)]
      guard let (name, state) = object(index) else { return .none }
      let plain = build.keywords < 0 && build.items < 0 && build.members < 0
      guard plain, tuple(build.arguments)?.isEmpty == true else { return .opaque(name) }
      return .object(name, state: try state.map { (s) throws(Fault) in try all([s])[0] } ?? .none)
    }
  }

  private func slice(_ at: UInt32, _ count: UInt32) -> [UInt8] {
    Array(source[Int(at)..<Int(at) + Int(count)])
  }
}
