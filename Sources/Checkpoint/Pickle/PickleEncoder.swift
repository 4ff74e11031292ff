import Support

/// Writes pickles of protocol 2 without memo, which every reader takes.
///
/// Long lists and dictionaries go out in batches of 1000, as Python's pickler does, so that a
/// reader's stack stays small.
public struct PickleEncoder: Sendable {
  public private(set) var bytes: [UInt8] = [0x80, 0x02]
  private static let batch = 1000

  public init() {}

  /// The pickle of one value.
  public static func encode(_ value: PickleValue) -> [UInt8] {
    var encoder = PickleEncoder()
    encoder.write(value)
    return encoder.finish()
  }

  /// Appends STOP and returns the pickle.
  public consuming func finish() -> [UInt8] { bytes + [UInt8(ascii: ".")] }

  public mutating func write(_ value: PickleValue) {
    switch value {
    case .none: op("N")
    case .bool(let value): bytes.append(value ? 0x88 : 0x89)
    case .int(let value): int(value)
    case .bigInt(let value):
      if value.count < 256 {
        bytes += [0x8A, UInt8(value.count)]
      } else {
        bytes.append(0x8B)
        number(UInt64(value.count), 4)
      }
      bytes += value
    case .float(let value):
      op("G")
      number(value.bitPattern.byteSwapped, 8)
    case .text(let value): text(value)
    case .bytes(let value): byteString(value)
    case .tuple(let items): tuple(items.count) { e in for item in items { e.write(item) } }
    case .list(let items): list(items) { e, item in e.write(item) }
    case .set(let items):
      call(PickleName("builtins", "set"), [.list(items)])
    case .dict(let members):
      dict(members) { e, member in
        e.write(member.key)
        e.write(member.value)
      }
    case .global(let name), .opaque(let name): global(name)
    case .call(let name, let arguments): call(name, arguments)
    case .object(let name, let state):
      object(name)
      if !state.isNone {
        write(state)
        op("b")
      }
    case .persistent(let id):
      write(id)
      op("Q")
    }
  }

  // MARK: Parts, for streams that are too long to hold as one value

  mutating func op(_ code: Unicode.Scalar) { bytes.append(UInt8(ascii: code)) }

  mutating func int(_ value: Int) {
    switch value {
    case 0..<0x100:
      op("K")
      number(UInt64(value), 1)
    case 0..<0x1_0000:
      op("M")
      number(UInt64(value), 2)
    case -0x8000_0000..<0x8000_0000:
      op("J")
      number(UInt64(UInt32(bitPattern: Int32(value))), 4)
    default:
      bytes += [0x8A, 8]  // LONG1
      number(UInt64(bitPattern: Int64(value)), 8)
    }
  }

  mutating func text(_ value: String) {
    let utf8 = Array(value.utf8)
    op("X")
    number(UInt64(utf8.count), 4)
    bytes += utf8
  }

  /// Protocol 2 has no bytes: `_codecs.encode(text, 'latin1')` stands for them.
  private mutating func byteString(_ value: [UInt8]) {
    let latin = String(String.UnicodeScalarView(value.map { Unicode.Scalar($0) }))
    call(PickleName("_codecs", "encode"), [.text(latin), .text("latin1")])
  }

  mutating func tuple(_ count: Int, _ body: (inout PickleEncoder) -> Void) {
    if count == 0 { return op(")") }
    if count > 3 { op("(") }
    body(&self)
    if count > 3 { op("t") } else { bytes.append(0x84 + UInt8(count)) }
  }

  mutating func list<Item>(_ items: [Item], _ body: (inout PickleEncoder, Item) -> Void) {
    op("]")
    batches(items, end: "e", body)
  }

  mutating func dict<Item>(_ items: [Item], _ body: (inout PickleEncoder, Item) -> Void) {
    op("}")
    batches(items, end: "u", body)
  }

  private mutating func batches<Item>(
    _ items: [Item], end: Unicode.Scalar, _ body: (inout PickleEncoder, Item) -> Void
  ) {
    for start in stride(from: 0, to: items.count, by: Self.batch) {
      op("(")
      for item in items[start..<min(start + Self.batch, items.count)] { body(&self, item) }
      op(end)
    }
  }

  mutating func global(_ name: PickleName) {
    op("c")
    bytes += Array(name.module.utf8) + [0x0A] + Array(name.name.utf8) + [0x0A]
  }

  mutating func call(_ name: PickleName, _ arguments: [PickleValue]) {
    global(name)
    write(.tuple(arguments))
    op("R")
  }

  /// An object of a plain class, without state.
  mutating func object(_ name: PickleName) {
    global(name)
    op(")")
    bytes.append(0x81)
  }

  private mutating func number(_ value: UInt64, _ width: Int) {
    for i in 0..<width { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) }
  }
}
