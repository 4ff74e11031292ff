import Support

/// What the footer of a parquet file says (Apache parquet-format 2.12, parquet.thrift).
struct ParquetMetadata {
  /// One element of the schema, in depth-first order.
  struct Element {
    var name = ""
    var type: Int?
    var typeLength = 0
    var repetition = 0
    var children = 0
    /// `converted_type`: the older way to say what a value means.
    var converted: Int?
    var scale = 0
    var logical: Logical?
  }

  /// `LogicalType`: the field that is set, and what its record says.
  struct Logical {
    var kind: Int
    var scale = 0
    /// Of times: 1 milliseconds, 2 microseconds, 3 nanoseconds.
    var unit = 0
    var isSigned = true
    var bits = 0
  }

  struct Chunk {
    var type = -1
    var codec = 0
    var values = 0
    var compressedSize = 0
    var dataOffset = 0
    var dictionaryOffset: Int?
    var isElsewhere = false
    var isEncrypted = false
  }

  struct RowGroup {
    var chunks: [Chunk] = []
    var rows = 0
  }

  private(set) var elements: [Element] = []
  private(set) var rowGroups: [RowGroup] = []
  private(set) var rows = 0

  /// - Throws: `DATA-101`.
  init(_ bytes: [UInt8], path: String) throws(Fault) {
    let reader = ThriftReader(bytes, path: path)
    var elements: [Element] = []
    var groups: [RowGroup] = []
    var rows = 0
    try reader.structure { (number, kind) throws(Fault) in
      switch (number, kind) {
      case (2, .list):
        try reader.list { (_) throws(Fault) in elements.append(try Self.element(reader)) }
      case (3, .int64): rows = try reader.integer()
      case (4, .list):
        try reader.list { (_) throws(Fault) in groups.append(try Self.group(reader)) }
      default: return false
      }
      return true
    }
    (self.elements, rowGroups, self.rows) = (elements, groups, rows)
  }

  private static func element(_ reader: ThriftReader) throws(Fault) -> Element {
    var element = Element()
    try reader.structure { (number, kind) throws(Fault) in
      switch (number, kind) {
      case (1, .int32): element.type = try reader.integer()
      case (2, .int32): element.typeLength = try reader.integer()
      case (3, .int32): element.repetition = try reader.integer()
      case (4, .binary): element.name = try reader.text()
      case (5, .int32): element.children = try reader.integer()
      case (6, .int32): element.converted = try reader.integer()
      case (7, .int32): element.scale = try reader.integer()
      case (10, .structure): element.logical = try logical(reader)
      default: return false
      }
      return true
    }
    return element
  }

  private static func logical(_ reader: ThriftReader) throws(Fault) -> Logical? {
    var found: Logical?
    try reader.structure { (kind, type) throws(Fault) in
      guard type == .structure else { return false }
      var logical = Logical(kind: kind)
      try reader.structure { (number, type) throws(Fault) in
        switch (kind, number, type) {
        case (5, 1, .int32): logical.scale = try reader.integer()
        case (7, 2, .structure), (8, 2, .structure):
          try reader.structure { (unit, type) throws(Fault) in
            logical.unit = unit
            return false
          }
        case (10, 1, .byte): logical.bits = Int(try reader.byte())
        case (10, 2, .yes), (10, 2, .no): logical.isSigned = reader.boolean(type)
        default: return false
        }
        return true
      }
      found = logical
      return true
    }
    return found
  }

  private static func group(_ reader: ThriftReader) throws(Fault) -> RowGroup {
    var group = RowGroup()
    try reader.structure { (number, kind) throws(Fault) in
      switch (number, kind) {
      case (1, .list):
        try reader.list { (_) throws(Fault) in group.chunks.append(try chunk(reader)) }
      case (3, .int64): group.rows = try reader.integer()
      default: return false
      }
      return true
    }
    return group
  }

  private static func chunk(_ reader: ThriftReader) throws(Fault) -> Chunk {
    var chunk = Chunk()
    try reader.structure { (number, kind) throws(Fault) in
      switch (number, kind) {
      case (1, .binary): chunk.isElsewhere = try !reader.binary().isEmpty
      case (3, .structure): try columnData(reader, &chunk)
      case (8, .structure):
        chunk.isEncrypted = true
        return false
      default: return false
      }
      return true
    }
    return chunk
  }

  private static func columnData(_ reader: ThriftReader, _ chunk: inout Chunk) throws(Fault) {
    var read = chunk
    try reader.structure { (number, kind) throws(Fault) in
      switch (number, kind) {
      case (1, .int32): read.type = try reader.integer()
      case (4, .int32): read.codec = try reader.integer()
      case (5, .int64): read.values = try reader.integer()
      case (7, .int64): read.compressedSize = try reader.integer()
      case (9, .int64): read.dataOffset = try reader.integer()
      case (11, .int64): read.dictionaryOffset = try reader.integer()
      default: return false
      }
      return true
    }
    chunk = read
  }
}

/// The header of a page.
struct PageHeader {
  enum Kind { case data, dataV2, dictionary, other }

  private(set) var kind = Kind.other
  private(set) var size = 0
  private(set) var compressedSize = 0
  private(set) var checksum: UInt32?
  private(set) var values = 0
  private(set) var encoding = 0
  private(set) var definitionEncoding = 3
  private(set) var repetitionEncoding = 3
  /// Bytes of the levels before the values of a page of the second form.
  private(set) var definitionSize = 0
  private(set) var repetitionSize = 0
  private(set) var isCompressed = true

  /// - Throws: `DATA-101`.
  init(_ reader: ThriftReader) throws(Fault) {
    var read = Self()
    try reader.structure { (number, kind) throws(Fault) in
      switch (number, kind) {
      case (1, .int32): read.setKind(try reader.integer())
      case (2, .int32): read.size = try reader.integer()
      case (3, .int32): read.compressedSize = try reader.integer()
      case (4, .int32): read.checksum = UInt32(truncatingIfNeeded: try reader.integer())
      case (5, .structure), (7, .structure): try read.data(reader)
      case (8, .structure): try read.dataV2(reader)
      default: return false
      }
      return true
    }
    self = read
  }

  private init() {}

  private mutating func setKind(_ number: Int) {
    switch number {
    case 0: kind = .data
    case 2: kind = .dictionary
    case 3: kind = .dataV2
    default: kind = .other
    }
  }

  private mutating func data(_ reader: ThriftReader) throws(Fault) {
    var read = self
    try reader.structure { (number, kind) throws(Fault) in
      guard kind == .int32 else { return false }
      switch number {
      case 1: read.values = try reader.integer()
      case 2: read.encoding = try reader.integer()
      case 3: read.definitionEncoding = try reader.integer()
      case 4: read.repetitionEncoding = try reader.integer()
      default: return false
      }
      return true
    }
    self = read
  }

  private mutating func dataV2(_ reader: ThriftReader) throws(Fault) {
    var read = self
    try reader.structure { (number, kind) throws(Fault) in
      switch (number, kind) {
      case (1, .int32): read.values = try reader.integer()
      case (4, .int32): read.encoding = try reader.integer()
      case (5, .int32): read.definitionSize = try reader.integer()
      case (6, .int32): read.repetitionSize = try reader.integer()
      case (7, .yes), (7, .no): read.isCompressed = reader.boolean(kind)
      default: return false
      }
      return true
    }
    self = read
  }
}
