import Support

/// The values of a page, one after the other.
struct PageValues {
  private enum Source {
    case plain(at: Int)
    case dictionary([JSONValue], HybridRuns)
    case flags(HybridRuns)
    case numbers([Int64])
    /// Where each value begins; the end of the last comes last.
    case texts([Int], [UInt8])
    case split(count: Int)
  }

  private let bytes: [UInt8]
  private let end: Int
  private let start: Int
  private let meaning: ValueMeaning
  private let path: String
  private var source: Source
  private var index = 0

  /// - Parameters:
  ///   - encoding: its number in the format.
  ///   - count: values of the page, missing ones included.
  /// - Throws: `DATA-101`.
  init(
    _ bytes: [UInt8], _ range: Range<Int>, encoding: Int, count: Int, meaning: ValueMeaning,
    dictionary: [JSONValue]?, path: String
  ) throws(Fault) {
    (self.bytes, self.meaning, self.path) = (bytes, meaning, path)
    (start, end) = (range.lowerBound, range.upperBound)
    switch encoding {
    case 0: source = .plain(at: range.lowerBound)
    case 2, 8:
      guard let dictionary else { throw ParquetFault.damaged(path, "a dictionary is missing") }
      guard let width = bytes[range].first else {
        source = .numbers([])
        return
      }
      let places = (range.lowerBound + 1)..<range.upperBound
      source = .dictionary(
        dictionary, try HybridRuns(bytes, places, width: Int(width), path: path))
    case 3 where meaning.storage == .boolean:
      guard range.count >= 4 else { throw ParquetFault.cut(path) }
      source = .flags(
        try HybridRuns(bytes, (range.lowerBound + 4)..<range.upperBound, width: 1, path: path))
    case 5 where [.int32, .int64].contains(meaning.storage):
      source = .numbers(try DeltaIntegers(bytes, range, most: count, path: path).values)
    case 6 where meaning.storage == .bytes:
      source = try Self.lengths(bytes, range, count, path)
    case 7 where [.bytes, .fixedBytes].contains(meaning.storage):
      source = try Self.prefixes(bytes, range, count, path)
    case 9 where meaning.length > 0 && range.count % meaning.length == 0:
      source = .split(count: range.count / meaning.length)
    default:
      throw ParquetFault.unsupported(path, "encoding \(encoding) for type \(meaning.storage)")
    }
  }

  /// DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes.
  private static func lengths(
    _ bytes: [UInt8], _ range: Range<Int>, _ count: Int, _ path: String
  ) throws(Fault) -> Source {
    let lengths = try DeltaIntegers(bytes, range, most: count, path: path)
    var starts = [lengths.end]
    starts.reserveCapacity(lengths.values.count + 1)
    var at = lengths.end
    for length in lengths.values {
      guard length >= 0, length <= Int64(range.upperBound - at) else {
        throw ParquetFault.cut(path)
      }
      at += Int(length)
      starts.append(at)
    }
    return .texts(starts, bytes)
  }

  /// DELTA_BYTE_ARRAY: how much each value shares with the one before, then the rest of each.
  private static func prefixes(
    _ bytes: [UInt8], _ range: Range<Int>, _ count: Int, _ path: String
  ) throws(Fault) -> Source {
    let prefixes = try DeltaIntegers(bytes, range, most: count, path: path)
    guard
      case .texts(let rests, _) = try lengths(
        bytes, prefixes.end..<range.upperBound, count, path),
      rests.count == prefixes.values.count + 1
    else { throw ParquetFault.damaged(path, "a list of shared beginnings is damaged") }
    var all: [UInt8] = []
    var starts = [0]
    var last = 0..<0
    for (i, prefix) in prefixes.values.enumerated() {
      guard prefix >= 0, prefix <= Int64(last.count) else {
        throw ParquetFault.damaged(path, "a value shares more than there is")
      }
      // Shared beginnings make much of little.
      guard all.count + Int(prefix) <= PageSource.sizeLimit else {
        throw ParquetFault.damaged(path, "a page is too large")
      }
      let begin = all.count
      all += all[last.lowerBound..<last.lowerBound + Int(prefix)]
      all += bytes[rests[i]..<rests[i + 1]]
      last = begin..<all.count
      starts.append(all.count)
    }
    return .texts(starts, all)
  }

  /// The next value that is not missing.
  /// - Throws: `DATA-101` when there is none.
  mutating func next() throws(Fault) -> JSONValue {
    defer { index += 1 }
    switch source {
    case .plain(let at): return try plain(at)
    case .dictionary(let dictionary, var places):
      let place = try places.next()
      source = .dictionary(dictionary, places)
      guard place < dictionary.count else {
        throw ParquetFault.damaged(path, "a value lies outside of its dictionary")
      }
      return dictionary[place]
    case .flags(var runs):
      let flag = try runs.next()
      source = .flags(runs)
      return .bool(flag != 0)
    case .numbers(let numbers):
      guard index < numbers.count else { throw ParquetFault.cut(path) }
      return meaning.json(.int(narrow(numbers[index])))
    case .texts(let starts, let content):
      guard index + 1 < starts.count else { throw ParquetFault.cut(path) }
      return meaning.json(.bytes(content[starts[index]..<starts[index + 1]]))
    case .split(let count): return try split(count)
    }
  }

  private func narrow(_ value: Int64) -> Int64 {
    meaning.storage == .int32 ? Int64(Int32(truncatingIfNeeded: value)) : value
  }

  private mutating func plain(_ at: Int) throws(Fault) -> JSONValue {
    if meaning.storage == .boolean {
      guard at + index >> 3 < end else { throw ParquetFault.cut(path) }
      return .bool(bytes[at + index >> 3] >> UInt8(index & 7) & 1 == 1)
    }
    var (at, length) = (at, meaning.length)
    if meaning.storage == .bytes {
      guard at + 4 <= end else { throw ParquetFault.cut(path) }
      length = Int(number(at, as: UInt32.self))
      at += 4
    }
    guard length <= end - at else { throw ParquetFault.cut(path) }
    source = .plain(at: at + length)
    return meaning.json(fixed(bytes, at, length))
  }

  private func fixed(_ bytes: [UInt8], _ at: Int, _ length: Int) -> RawValue {
    func load<T: FixedWidthInteger>(_ type: T.Type) -> T {
      T(littleEndian: bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: type) })
    }
    switch meaning.storage {
    case .int32: return .int(Int64(load(Int32.self)))
    case .int64: return .int(load(Int64.self))
    case .float: return .float(Float(bitPattern: load(UInt32.self)))
    case .double: return .double(Double(bitPattern: load(UInt64.self)))
    case .boolean, .int96, .bytes, .fixedBytes: return .bytes(bytes[at..<at + length])
    }
  }

  private func number<T: FixedWidthInteger>(_ at: Int, as type: T.Type) -> T {
    T(littleEndian: bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: type) })
  }

  /// BYTE_STREAM_SPLIT: first bytes of all values, then second ones, and so on.
  private func split(_ count: Int) throws(Fault) -> JSONValue {
    guard index < count else { throw ParquetFault.cut(path) }
    let value = (0..<meaning.length).map { bytes[start + $0 * count + index] }
    return meaning.json(fixed(value, 0, value.count))
  }
}
