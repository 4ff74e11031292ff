import Support

/// Decodes a pickle (protocols 2 to 5) into inert nodes with a real stack machine.
///
/// Nothing is imported or called. Every declared length is checked against the bytes that are left
/// before anything is kept, each opcode costs constant time apart from the bytes it names, and
/// there is no recursion.
/// - Source: the opcode table in Python's `pickletools`.
struct PickleDecoder {
  let path: String
  let limits: PickleLimits
  let allow: PickleAllowList
  let requireEnd: Bool
  var graph: PickleGraph
  var at = 0
  var stack: [PickleGraph.Index] = []
  var marks: [Int] = []
  var memo: [Int: PickleGraph.Index] = [:]
  /// Memo entries 0, 1, 2 …: the usual case needs no hashing.
  var denseMemo: [PickleGraph.Index] = []
  var nameNumbers: [PickleName: Int32] = [:]

  /// - Parameters:
  ///   - path: for messages.
  ///   - requireEnd: STOP must be the last byte.
  /// - Throws: `CKPT-111`, `CKPT-112`, `CKPT-113`.
  static func decode(
    _ bytes: [UInt8], path: String, allow: PickleAllowList, limits: PickleLimits = PickleLimits(),
    requireEnd: Bool = true
  ) throws(Fault) -> PickleGraph {
    guard bytes.count <= limits.bytes, bytes.count < Int(UInt32.max) else {
      throw Fault(
        .pickleTooLarge, "the pickle has \(bytes.count) bytes", at: .file(path),
        expected: "at most \(limits.bytes)")
    }
    var decoder = PickleDecoder(
      path: path, limits: limits, allow: allow, requireEnd: requireEnd,
      graph: PickleGraph(source: bytes))
    decoder.graph.nodes = [.none, .bool(false), .bool(true)]
    while try decoder.step() {}
    return decoder.graph
  }

  func bad(_ message: String) -> Fault {
    Fault(
      .badPickle, "byte \(at) of the pickle: \(message)", at: .file(path),
      fix: "the file is damaged or not from a known writer; copy it again")
  }

  func tooMuch(_ what: String, _ limit: Int) -> Fault {
    Fault(.pickleTooLarge, "the pickle has more than \(limit) \(what)", at: .file(path))
  }

  // MARK: Reading

  mutating func take(_ count: Int) throws(Fault) -> Int {
    guard count >= 0, count <= graph.source.count - at else {
      throw bad("\(count) bytes are announced, \(graph.source.count - at) are left")
    }
    let start = at
    at += count
    return start
  }

  mutating func unsigned(_ width: Int) throws(Fault) -> UInt64 {
    let start = try take(width)
    var value: UInt64 = 0
    for i in 0..<width { value |= UInt64(graph.source[start + i]) << (8 * i) }
    return value
  }

  /// A length field; one that no file could hold is refused.
  mutating func length(_ width: Int) throws(Fault) -> Int {
    let value = try unsigned(width)
    guard value <= UInt64(graph.source.count) else {
      throw bad("\(value) bytes are announced, \(graph.source.count - at) are left")
    }
    return Int(value)
  }

  /// The text up to a line feed.
  mutating func line() throws(Fault) -> String {
    guard let end = graph.source[at...].firstIndex(of: 0x0A) else {
      throw bad("a line does not end")
    }
    guard let text = String(validating: graph.source[at..<end], as: UTF8.self) else {
      throw bad("a name is not UTF-8")
    }
    at = end + 1
    return text
  }

  // MARK: Stack

  mutating func add(_ node: PickleGraph.Node) throws(Fault) {
    guard graph.nodes.count < min(limits.nodes, Int(Int32.max)) else {
      throw tooMuch("values", limits.nodes)
    }
    graph.nodes.append(node)
    try push(PickleGraph.Index(graph.nodes.count - 1))
  }

  mutating func push(_ index: PickleGraph.Index) throws(Fault) {
    guard stack.count < limits.stack else { throw tooMuch("values on its stack", limits.stack) }
    stack.append(index)
  }

  mutating func pop() throws(Fault) -> PickleGraph.Index {
    guard stack.count > (marks.last ?? 0), let index = stack.popLast() else {
      throw bad("a value is taken from an empty stack")
    }
    return index
  }

  func top() throws(Fault) -> PickleGraph.Index {
    guard stack.count > (marks.last ?? 0), let index = stack.last else {
      throw bad("a value is taken from an empty stack")
    }
    return index
  }

  /// Removes and returns what lies above the last MARK.
  mutating func popToMark() throws(Fault) -> [PickleGraph.Index] {
    guard let mark = marks.popLast() else { throw bad("there is no mark") }
    let items = Array(stack[mark...])
    stack.removeSubrange(mark...)
    return items
  }

  // MARK: Memo

  mutating func remember(_ key: Int) throws(Fault) {
    let value = try top()
    guard denseMemo.count + memo.count < limits.memo else {
      throw tooMuch("remembered values", limits.memo)
    }
    if key == denseMemo.count {
      denseMemo.append(value)
      memo[key] = nil
    } else if key < denseMemo.count {
      denseMemo[key] = value
    } else {
      memo[key] = value
    }
  }

  mutating func recall(_ key: Int) throws(Fault) {
    if key < denseMemo.count {
      try push(denseMemo[key])
    } else if let value = memo[key] {
      try push(value)
    } else {
      throw bad("it recalls value \(key), which it never stored")
    }
  }
}
