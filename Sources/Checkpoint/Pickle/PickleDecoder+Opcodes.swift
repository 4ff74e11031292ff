import Support

extension PickleDecoder {
  /// Runs one opcode.
  /// - Returns: false after STOP.
  mutating func step() throws(Fault) -> Bool {
    guard at < graph.source.count else { throw bad("it ends without STOP") }
    let code = graph.source[at]
    at += 1
    switch code {
    case 0x80: try proto()  // PROTO
    case 0x95:  // FRAME
      let count = try length(8)
      guard count <= graph.source.count - at else { throw bad("a frame is longer than the file") }
    case UInt8(ascii: "."): return try stop()
    case UInt8(ascii: "("):
      guard marks.count < limits.marks else { throw tooMuch("open marks", limits.marks) }
      marks.append(stack.count)
    case UInt8(ascii: "0"): try popOne()  // POP
    case UInt8(ascii: "1"): _ = try popToMark()  // POP_MARK
    case UInt8(ascii: "2"): try push(try top())  // DUP
    case UInt8(ascii: "q"): try remember(Int(try unsigned(1)))  // BINPUT
    case UInt8(ascii: "r"): try remember(Int(try unsigned(4)))  // LONG_BINPUT
    case UInt8(ascii: "p"): try remember(try decimalLine())  // PUT
    case 0x94: try remember(denseMemo.count + memo.count)  // MEMOIZE
    case UInt8(ascii: "h"): try recall(Int(try unsigned(1)))  // BINGET
    case UInt8(ascii: "j"): try recall(Int(try unsigned(4)))  // LONG_BINGET
    case UInt8(ascii: "g"): try recall(try decimalLine())  // GET
    default:
      if try scalar(code) { return true }
      if try container(code) { return true }
      if try construction(code) { return true }
      throw bad("opcode 0x\(String(code, radix: 16)) is refused")
    }
    return true
  }

  private mutating func proto() throws(Fault) {
    let version = try unsigned(1)
    guard version <= 5 else { throw bad("protocol \(version) is not known") }
  }

  private mutating func stop() throws(Fault) -> Bool {
    graph.root = try pop()
    guard stack.isEmpty, marks.isEmpty else { throw bad("values are left over at STOP") }
    guard !requireEnd || at == graph.source.count else { throw bad("bytes follow STOP") }
    return false
  }

  /// POP removes the top value, or the mark when nothing lies above it.
  private mutating func popOne() throws(Fault) {
    if let mark = marks.last, mark == stack.count {
      marks.removeLast()
    } else {
      _ = try pop()
    }
  }

  private mutating func decimalLine() throws(Fault) -> Int {
    guard let value = Int(try line()), value >= 0 else { throw bad("a memo key is no number") }
    return value
  }

  // MARK: Values

  private mutating func scalar(_ code: UInt8) throws(Fault) -> Bool {
    switch code {
    case UInt8(ascii: "N"): try push(0)
    case 0x89: try push(1)  // NEWFALSE
    case 0x88: try push(2)  // NEWTRUE
    case UInt8(ascii: "K"): try add(.int(Int(try unsigned(1))))  // BININT1
    case UInt8(ascii: "M"): try add(.int(Int(try unsigned(2))))  // BININT2
    case UInt8(ascii: "J"):  // BININT
      try add(.int(Int(Int32(bitPattern: UInt32(try unsigned(4))))))
    case 0x8A: try long(try length(1))  // LONG1
    case 0x8B:  // LONG4
      let count = Int32(bitPattern: UInt32(try unsigned(4)))
      guard count >= 0 else { throw bad("an integer has a negative length") }
      try long(Int(count))
    case UInt8(ascii: "G"):  // BINFLOAT, big-endian
      try add(.float(Double(bitPattern: try unsigned(8).byteSwapped)))
    case 0x8C: try text(try length(1))  // SHORT_BINUNICODE
    case UInt8(ascii: "X"): try text(try length(4))  // BINUNICODE
    case 0x8D: try text(try length(8))  // BINUNICODE8
    case UInt8(ascii: "C"): try bytes(try length(1))  // SHORT_BINBYTES
    case UInt8(ascii: "B"): try bytes(try length(4))  // BINBYTES
    case 0x8E: try bytes(try length(8))  // BINBYTES8
    default: return false
    }
    return true
  }

  private mutating func text(_ count: Int) throws(Fault) {
    try add(.text(at: UInt32(try take(count)), count: UInt32(count)))
  }

  private mutating func bytes(_ count: Int) throws(Fault) {
    try add(.bytes(at: UInt32(try take(count)), count: UInt32(count)))
  }

  /// Little-endian two's complement of any length.
  private mutating func long(_ count: Int) throws(Fault) {
    let start = try take(count)
    guard count <= 8 else { return try add(.bigInt(at: UInt32(start), count: UInt32(count))) }
    var value: UInt64 = 0
    for i in 0..<count { value |= UInt64(graph.source[start + i]) << (8 * i) }
    if count > 0, count < 8, graph.source[start + count - 1] >= 0x80 {
      value |= UInt64.max << (8 * count)
    }
    try add(.int(Int(Int64(bitPattern: value))))
  }

  // MARK: Containers

  private mutating func container(_ code: UInt8) throws(Fault) -> Bool {
    switch code {
    case UInt8(ascii: ")"): try tuple([])  // EMPTY_TUPLE
    case 0x85: try tuple([try pop()])  // TUPLE1
    case 0x86: try tuple(try popLast(2))  // TUPLE2
    case 0x87: try tuple(try popLast(3))  // TUPLE3
    case UInt8(ascii: "t"): try tuple(try popToMark())  // TUPLE
    case UInt8(ascii: "]"): try add(.list(newList([])))  // EMPTY_LIST
    case UInt8(ascii: "l"): try add(.list(newList(try popToMark())))  // LIST
    case UInt8(ascii: "}"): try add(.dict(newList([])))  // EMPTY_DICT
    case UInt8(ascii: "d"): try add(.dict(newList(try pairs(try popToMark()))))  // DICT
    case 0x8F: try add(.set(newList([])))  // EMPTY_SET
    case 0x91: try add(.frozenSet(newList(try popToMark())))  // FROZENSET
    case 0x90: try addToSet(try popToMark())  // ADDITEMS
    case UInt8(ascii: "a"): try appendItems([try pop()])  // APPEND
    case UInt8(ascii: "e"): try appendItems(try popToMark())  // APPENDS
    case UInt8(ascii: "s"): try setMembers(try popLast(2))  // SETITEM
    case UInt8(ascii: "u"): try setMembers(try pairs(try popToMark()))  // SETITEMS
    default: return false
    }
    return true
  }

  private mutating func popLast(_ count: Int) throws(Fault) -> [PickleGraph.Index] {
    var items: [PickleGraph.Index] = []
    for _ in 0..<count { items.append(try pop()) }
    return items.reversed()
  }

  private func pairs(_ items: [PickleGraph.Index]) throws(Fault) -> [PickleGraph.Index] {
    guard items.count % 2 == 0 else { throw bad("a dictionary key has no value") }
    return items
  }

  private mutating func tuple(_ items: [PickleGraph.Index]) throws(Fault) {
    guard graph.children.count + items.count < Int(Int32.max) else {
      throw tooMuch("tuple members", Int(Int32.max))
    }
    let start = Int32(graph.children.count)
    graph.children += items
    try add(.tuple(at: start, count: Int32(items.count)))
  }

  private mutating func newList(_ items: [PickleGraph.Index]) -> Int32 {
    graph.lists.append(items)
    return Int32(graph.lists.count - 1)
  }

  private mutating func addToSet(_ items: [PickleGraph.Index]) throws(Fault) {
    guard case .set(let number) = graph[try top()] else { throw bad("items for what is no set") }
    graph.lists[Int(number)] += items
  }

  private mutating func appendItems(_ items: [PickleGraph.Index]) throws(Fault) {
    switch graph[try top()] {
    case .list(let number): graph.lists[Int(number)] += items
    case .call(let number), .object(let number):
      if graph.builds[Int(number)].items < 0 { graph.builds[Int(number)].items = newList([]) }
      graph.lists[Int(graph.builds[Int(number)].items)] += items
    default: throw bad("items for what is no list")
    }
  }

  private mutating func setMembers(_ items: [PickleGraph.Index]) throws(Fault) {
    switch graph[try top()] {
    case .dict(let number): graph.lists[Int(number)] += items
    case .call(let number), .object(let number):
      if graph.builds[Int(number)].members < 0 { graph.builds[Int(number)].members = newList([]) }
      graph.lists[Int(graph.builds[Int(number)].members)] += items
    default: throw bad("members for what is no dictionary")
    }
  }

  // MARK: Notes of calls and objects

  private mutating func construction(_ code: UInt8) throws(Fault) -> Bool {
    switch code {
    case UInt8(ascii: "c"):  // GLOBAL
      let module = try line()
      try global(PickleName(module, try line()))
    case 0x93:  // STACK_GLOBAL
      let parts = try popLast(2)
      guard let module = graph.text(parts[0]), let name = graph.text(parts[1]) else {
        throw bad("a name is no text")
      }
      try global(PickleName(module, name))
    case UInt8(ascii: "R"):  // REDUCE
      let parts = try popLast(2)
      try build(parts[0], parts[1]) { .call($0) }
    case 0x81:  // NEWOBJ
      let parts = try popLast(2)
      try build(parts[0], parts[1]) { .object($0) }
    case 0x92:  // NEWOBJ_EX
      let parts = try popLast(3)
      try build(parts[0], parts[1], keywords: parts[2]) { .object($0) }
    case UInt8(ascii: "b"):  // BUILD
      let state = try pop()
      switch graph[try top()] {
      case .call(let number), .object(let number): graph.builds[Int(number)].state = state
      default: throw bad("a state for what is no object")
      }
    case UInt8(ascii: "Q"): try add(.persistent(try pop()))  // BINPERSID
    default: return false
    }
    return true
  }

  private mutating func global(_ name: PickleName) throws(Fault) {
    guard allow.allows(name) else {
      throw Fault(
        .pickleNotAllowed, "the pickle names \(name.description.prefix(200))", at: .file(path),
        expected: "plain data and tensors only",
        fix: "do not use this file, or write it again with plain values")
    }
    if let number = nameNumbers[name] { return try add(.global(number)) }
    let number = Int32(graph.names.count)
    graph.names.append(name)
    nameNumbers[name] = number
    try add(.global(number))
  }

  private mutating func build(
    _ function: PickleGraph.Index, _ arguments: PickleGraph.Index,
    keywords: PickleGraph.Index = -1, _ node: (Int32) -> PickleGraph.Node
  ) throws(Fault) {
    guard case .global = graph[function] else { throw bad("what is called is no name") }
    guard case .tuple = graph[arguments] else { throw bad("the arguments are no tuple") }
    graph.builds.append(
      PickleGraph.Build(function: function, arguments: arguments, keywords: keywords))
    try add(node(Int32(graph.builds.count - 1)))
  }
}
