import Foundation
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct ParquetFiles {
  private static let folder = "\(Fixtures.root)/parquet"

  private static func rows(_ path: String) throws -> [JSONObject] {
    let reader = try openRows(path)
    var rows: [JSONObject] = []
    while let row = try reader.next() { rows.append(row.columns) }
    return rows
  }

  @Test(
    "Nested rows of another library are read alike in every encoding, page form and compression",
    arguments: [
      "plain_v1", "dictionary_snappy_v1", "dictionary_zstd_v2", "plain_gzip_v2", "delta_v2",
    ])
  func encodings(name: String) throws {
    let wanted = try Self.rows("\(Self.folder)/rows.jsonl")
    let found = try Self.rows("\(Self.folder)/\(name).parquet")
    try #require(found.count == wanted.count)
    for (i, (a, b)) in zip(found, wanted).enumerated() {
      for (key, value) in b.members {
        let mine = try #require(a[key])
        #expect(mine.isEqual(to: value), "row \(i) \(key): \(mine.write()), not \(value.write())")
      }
    }
  }

  @Test("A row is found again by its mark, forwards, backwards and over groups of rows")
  func marks() throws {
    let reader = try openRows("\(Self.folder)/dictionary_zstd_v2.parquet")
    var rows: [RawRow] = []
    while let row = try reader.next() { rows.append(row) }
    for place in [0, 5, 3, 129, 130, 131, 299, 2, 260, 259] {
      try reader.move(to: rows[place].mark)
      #expect(reader.mark == rows[place].mark)
      #expect(try reader.next()?.columns == rows[place].columns, "row \(place)")
    }
    try reader.move(to: FileMark(offset: 300, line: 301))
    #expect(try reader.next()?.mark == nil)
    #expect(throws: Fault.self) { try reader.move(to: FileMark(offset: 301, line: 302)) }
  }

  @Test("Times, decimals, unsigned numbers and bare bytes become texts and numbers")
  func kinds() throws {
    let rows = try Self.rows("\(Self.folder)/kinds.parquet")
    let first = JSONValue.object(rows[0]).write()
    #expect(
      first
        == #"{"day":"1969-12-31","ms":"1999-12-31 23:59:59.125","us":"2026-02-28 01:02:03.000004","#
        + #""price":"-0.05","wide":"12345678901.250","u32":4294967295,"#
        + #""u64":18446744073709551615,"i8":-7,"bare":"plain","fixed":"/wAB"}"#)
    #expect(rows[1]["day"] == .string("2024-02-29") && rows[1]["price"] == .string("123.40"))
    #expect(rows[1]["ms"] == .null && rows[1]["bare"] == .string("//4="))
    let old = try Self.rows("\(Self.folder)/old_times.parquet")
    #expect(old.map { $0["us"] } == [.string("2026-02-28 01:02:03.000004"), .null])
  }

  @Test("A file without rows has none, and another compression is named")
  func others() throws {
    #expect(try Self.rows("\(Self.folder)/empty.parquet").isEmpty)
    let fault = #expect(throws: Fault.self) { try Self.rows("\(Self.folder)/brotli.parquet") }
    #expect(fault?.message.contains("Brotli compression") == true)
    let folder = try Fixtures.Folder()
    for (name, text) in [("a", ""), ("b", "PAR1"), ("c", "PAR1\u{1}\u{0}\u{0}\u{0}PAR1")] {
      let path = try folder.write("\(name).parquet", text)
      #expect(throws: Fault.self) { try Self.rows(path) }
    }
  }

  @Test("Damaged files are refused or read, and never do harm")
  func damaged() throws {
    let folder = try Fixtures.Folder()
    let seed = UInt64.random(in: 0..<1 << 32)
    var random = CounterRandom(seed: seed, purpose: "parquet damage")
    var refused = 0
    for name in ["plain_v1", "dictionary_zstd_v2", "delta_v2", "kinds"] {
      let bytes = try AtomicFile.read("\(Self.folder)/\(name).parquet")
      for trial in 0..<40 {
        var broken = bytes
        for change in 0..<3 {
          let bits = random.bits(trial * 8 + change)
          // Most damage hits the description at the end.
          let reach = trial % 2 == 0 ? min(broken.count, 1500) : broken.count
          broken[broken.count - 1 - Int(bits % UInt64(reach))] = UInt8(
            truncatingIfNeeded: bits >> 40)
        }
        if trial % 5 == 0 { broken.removeLast(Int(random.bits(trial * 8 + 7) % 2000) + 1) }
        let path = "\(folder.path)/x.parquet"
        try Data(broken).write(to: URL(fileURLWithPath: path))
        if (try? Self.rows(path)) == nil { refused += 1 }
      }
      random = CounterRandom(seed: seed &+ 1, purpose: name)
    }
    #expect(refused > 40, "seed \(seed)")
  }

  @Test("A page that was changed fails its checksum")
  func checksum() throws {
    let folder = try Fixtures.Folder()
    var bytes = try AtomicFile.read("\(Self.folder)/dictionary_zstd_v2.parquet")
    bytes[200] ^= 4
    let path = "\(folder.path)/x.parquet"
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let fault = #expect(throws: Fault.self) { try Self.rows(path) }
    #expect(fault?.message.contains("checksum") == true)
  }

  @Test("A short file that claims rows without end is refused at once")
  func claims() throws {
    // A footer of one optional column whose 2^40 rows would all be missing.
    func varint(_ value: UInt64) -> [UInt8] {
      value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7F) | 0x80] + varint(value >> 7)
    }
    let many = varint(1 << 41)
    let root: [UInt8] = [0x48, 1] + Array("s".utf8) + [0x15, 2, 0]
    let leaf: [UInt8] = [0x15, 2, 0x25, 2, 0x18, 1] + Array("x".utf8) + [0]
    let data: [UInt8] =
      [0x15, 2, 0x19, 0x05, 0x19, 0x18, 1] + Array("x".utf8) + [0x15, 0, 0x16] + many
      + [0x16, 0, 0x16, 0, 0x26, 8, 0]
    let chunk: [UInt8] = [0x26, 8, 0x1C] + data + [0]
    let group: [UInt8] = [0x19, 0x1C] + chunk + [0x16, 0, 0x16] + many + [0]
    let footer: [UInt8] =
      [0x15, 2, 0x19, 0x2C] + root + leaf + [0x16] + many + [0x19, 0x1C] + group + [0]
    let size = withUnsafeBytes(of: UInt32(footer.count).littleEndian) { Array($0) }
    let file = Array("PAR1".utf8) + footer + size + Array("PAR1".utf8)
    let folder = try Fixtures.Folder()
    let path = "\(folder.path)/x.parquet"
    try Data(file).write(to: URL(fileURLWithPath: path))
    let fault = #expect(throws: Fault.self) { try Self.rows(path) }
    #expect(
      fault?.message.contains("more rows than it can have") == true, "\(fault?.message ?? "")")
  }
}

extension JSONValue {
  /// Equal as values: numbers by their size, not by how they are written.
  fileprivate func isEqual(to other: JSONValue) -> Bool {
    switch (self, other) {
    case (.number, .number): return self == other || double == other.double
    case (.array(let a), .array(let b)):
      return a.count == b.count && zip(a, b).allSatisfy { $0.isEqual(to: $1) }
    case (.object(let a), .object(let b)):
      return a.count == b.count
        && a.members.allSatisfy { key, value in b[key].map(value.isEqual(to:)) == true }
    default: return self == other
    }
  }
}
