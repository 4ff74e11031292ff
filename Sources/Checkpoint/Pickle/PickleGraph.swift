import Support

/// A decoded pickle: inert nodes in one array, shared where the pickle shares them.
///
/// Nothing here can run: a call is a note "this function, these arguments", an object a note
/// "this class, this state". Indices instead of references keep a hostile nesting from exhausting
/// the stack when the graph is freed.
struct PickleGraph: Sendable {
  typealias Index = Int32

  enum Node: Sendable {
    case none
    case bool(Bool)
    case int(Int)
    case float(Double)
    /// An integer beyond 64 bits: its little-endian bytes in the source.
    case bigInt(at: UInt32, count: UInt32)
    /// UTF-8 in the source, not yet checked.
    case text(at: UInt32, count: UInt32)
    case bytes(at: UInt32, count: UInt32)
    /// A name; the number counts into `names`.
    case global(Int32)
    /// Children in `children`.
    case tuple(at: Int32, count: Int32)
    /// The number counts into `lists`: items of a list or set, keys and values of a dictionary.
    case list(Int32)
    case set(Int32)
    case frozenSet(Int32)
    case dict(Int32)
    /// The number counts into `builds`.
    case call(Int32)
    case object(Int32)
    case persistent(Index)
  }

  /// A call or an object, with what was put into it afterwards.
  struct Build: Sendable {
    var function: Index
    var arguments: Index
    var keywords: Index = -1
    var state: Index = -1
    /// Number in `lists` of the dictionary members (OrderedDict) or list items added, or -1.
    var members: Int32 = -1
    var items: Int32 = -1
  }

  let source: [UInt8]
  var nodes: [Node] = []
  var children: [Index] = []
  var lists: [[Index]] = []
  var builds: [Build] = []
  var names: [PickleName] = []
  var root: Index = 0

  subscript(index: Index) -> Node { nodes[Int(index)] }

  /// The text of a node, or nil when it is no text or no UTF-8.
  func text(_ index: Index) -> String? {
    guard case .text(let at, let count) = self[index] else { return nil }
    return String(validating: source[Int(at)..<Int(at) + Int(count)], as: UTF8.self)
  }

  func int(_ index: Index) -> Int? {
    switch self[index] {
    case .int(let value): return value
    case .bool(let value): return value ? 1 : 0
    default: return nil
    }
  }

  func tuple(_ index: Index) -> ArraySlice<Index>? {
    guard case .tuple(let at, let count) = self[index] else { return nil }
    return children[Int(at)..<Int(at) + Int(count)]
  }

  func list(_ index: Index) -> [Index]? {
    guard case .list(let number) = self[index] else { return nil }
    return lists[Int(number)]
  }

  /// Keys and values in turn.
  func dict(_ index: Index) -> [Index]? {
    switch self[index] {
    case .dict(let number): return lists[Int(number)]
    case .call(let number):
      // An OrderedDict is a call that is filled afterwards.
      let build = builds[Int(number)]
      guard name(build.function) == PickleName("collections", "OrderedDict") else { return nil }
      return build.members < 0 ? [] : lists[Int(build.members)]
    default: return nil
    }
  }

  func name(_ index: Index) -> PickleName? {
    guard case .global(let number) = self[index] else { return nil }
    return names[Int(number)]
  }

  /// The name of the called function and the arguments.
  func call(_ index: Index) -> (name: PickleName, arguments: ArraySlice<Index>)? {
    guard case .call(let number) = self[index], let name = name(builds[Int(number)].function),
      let arguments = tuple(builds[Int(number)].arguments)
    else { return nil }
    return (name, arguments)
  }

  /// The class of an object and its state, nil when BUILD never came.
  func object(_ index: Index) -> (name: PickleName, state: Index?)? {
    guard case .object(let number) = self[index], let name = name(builds[Int(number)].function)
    else { return nil }
    let state = builds[Int(number)].state
    return (name, state < 0 ? nil : state)
  }

  /// What a node is, for messages.
  func kind(_ index: Index) -> String {
    switch self[index] {
    case .none: return "None"
    case .bool: return "a boolean"
    case .int, .bigInt: return "an integer"
    case .float: return "a float"
    case .text: return "a text"
    case .bytes: return "bytes"
    case .global: return "the name \(name(index)?.description ?? "?")"
    case .tuple: return "a tuple"
    case .list: return "a list"
    case .set, .frozenSet: return "a set"
    case .dict: return "a dictionary"
    case .call: return "a call of \(call(index)?.name.description ?? "something unnamed")"
    case .object: return "an object of \(object(index)?.name.description ?? "an unnamed class")"
    case .persistent: return "a reference to a storage"
    }
  }
}
