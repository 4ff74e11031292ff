import Foundation
import Support

/// A value as it lies in a page.
enum RawValue {
  case int(Int64)
  case float(Float)
  case double(Double)
  case bool(Bool)
  case bytes(ArraySlice<UInt8>)
}

/// How the values of a column are stored and what they mean.
struct ValueMeaning {
  /// The physical types, with their numbers in the format.
  enum Storage: Int {
    case boolean, int32, int64, int96, float, double, bytes, fixedBytes
  }

  enum Sense: Equatable {
    case plain, unsigned, text, decimal(scale: Int), date
    /// Parts of a second in one.
    case timeStamp(Int64)
    case oldTimeStamp
    /// Bytes without a word about them: pictures where the column is called so, else text if it is.
    case bytes(arePicture: Bool)
  }

  let storage: Storage
  /// Bytes of a value of fixed size.
  let length: Int
  let sense: Sense

  /// - Throws: `DATA-101` for a type that is not known.
  init(_ element: ParquetMetadata.Element, type: Int, path: String) throws(Fault) {
    guard let storage = Storage(rawValue: type) else {
      throw ParquetFault.unsupported(path, "type \(type) in column \(element.name)")
    }
    self.storage = storage
    switch storage {
    case .boolean: length = 0
    case .int32, .float: length = 4
    case .int64, .double: length = 8
    case .int96: length = 12
    case .bytes: length = 0
    case .fixedBytes:
      guard (1...(1 << 20)).contains(element.typeLength) else {
        throw ParquetFault.damaged(path, "column \(element.name) has values of no size")
      }
      length = element.typeLength
    }
    sense = Self.sense(element, storage)
  }

  private static func sense(_ element: ParquetMetadata.Element, _ storage: Storage) -> Sense {
    let (logical, converted) = (element.logical, element.converted)
    if storage == .int96 { return .oldTimeStamp }
    if logical?.kind == 5 || converted == 5 {
      return .decimal(scale: max(0, min(logical?.scale ?? element.scale, 64)))
    }
    switch storage {
    case .bytes, .fixedBytes:
      // STRING, ENUM, JSON.
      if [1, 4, 12].contains(logical?.kind) || [0, 4, 19].contains(converted) { return .text }
      return .bytes(arePicture: element.name == "bytes" || storage == .fixedBytes)
    case .int32, .int64:
      if logical?.kind == 6 || converted == 6 { return .date }
      if logical?.kind == 8 {
        return .timeStamp([1: 1000, 2: 1_000_000, 3: 1_000_000_000][logical?.unit ?? 1] ?? 1000)
      }
      if converted == 9 { return .timeStamp(1000) }
      if converted == 10 { return .timeStamp(1_000_000) }
      let isUnsigned = logical?.kind == 10 ? logical?.isSigned == false : false
      return isUnsigned || (11...14).contains(converted ?? 0) ? .unsigned : .plain
    default: return .plain
    }
  }

  /// The value in a row; bytes that are no text as base64.
  func json(_ value: RawValue) -> JSONValue {
    switch value {
    case .bool(let flag): return .bool(flag)
    case .float(let number): return JSONValue(Double(number))
    case .double(let number): return JSONValue(number)
    case .int(let number): return self.number(number)
    case .bytes(let bytes): return text(bytes)
    }
  }

  private func number(_ value: Int64) -> JSONValue {
    switch sense {
    case .unsigned:
      return .number(
        storage == .int32
          ? "\(UInt32(truncatingIfNeeded: value))" : "\(UInt64(bitPattern: value))")
    case .decimal(let scale): return .string(Self.decimal("\(value)", scale: scale))
    case .date: return .string(Self.date(days: value))
    case .timeStamp(let parts): return .string(Self.moment(value, parts: parts))
    default: return .number("\(value)")
    }
  }

  private func text(_ bytes: ArraySlice<UInt8>) -> JSONValue {
    switch sense {
    case .text: return .string(String(decoding: bytes, as: UTF8.self))
    case .bytes(false):
      if let text = String(validating: bytes, as: UTF8.self) { return .string(text) }
    case .decimal(let scale):
      guard bytes.count <= 8, let first = bytes.first else { break }
      let start: Int64 = first >= 0x80 ? -1 : 0
      let value = bytes.reduce(start) { $0 << 8 | Int64($1) }
      return .string(Self.decimal("\(value)", scale: scale))
    case .oldTimeStamp:
      let raw = Array(bytes)
      let nanoseconds = raw.withUnsafeBytes { $0.loadUnaligned(as: Int64.self) }
      let day = raw.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 8, as: UInt32.self) }
      // Days are counted from noon of 4713 before our era.
      let days = Int64(day) - 2_440_588
      let clock = Self.moment(nanoseconds, parts: 1_000_000_000)
      return .string(Self.date(days: days) + clock.dropFirst(10))
    default: break
    }
    return .string(Data(bytes).base64EncodedString())
  }

  /// A number of so many decimal places.
  private static func decimal(_ digits: String, scale: Int) -> String {
    guard scale > 0 else { return digits }
    let isNegative = digits.hasPrefix("-")
    var plain = isNegative ? String(digits.dropFirst()) : digits
    if plain.count <= scale {
      plain = String(repeating: "0", count: scale + 1 - plain.count) + plain
    }
    return (isNegative ? "-" : "") + plain.dropLast(scale) + "." + plain.suffix(scale)
  }

  /// Proleptic Gregorian calendar, from days since 1970-01-01.
  private static func date(days: Int64) -> String {
    guard days.magnitude < 1 << 40 else { return "\(days) days" }
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let inEra = shifted - era * 146_097
    let yearOfEra = (inEra - inEra / 1460 + inEra / 36_524 - inEra / 146_096) / 365
    let dayOfYear = inEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let month = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * month + 2) / 5 + 1
    let calendarMonth = month < 10 ? month + 3 : month - 9
    let year = yearOfEra + era * 400 + (calendarMonth <= 2 ? 1 : 0)
    return padded(year, 4) + "-" + padded(calendarMonth, 2) + "-" + padded(day, 2)
  }

  private static func moment(_ value: Int64, parts: Int64) -> String {
    var (seconds, rest) = value.quotientAndRemainder(dividingBy: parts)
    if rest < 0 { (seconds, rest) = (seconds - 1, rest + parts) }
    var (days, clock) = seconds.quotientAndRemainder(dividingBy: 86_400)
    if clock < 0 { (days, clock) = (days - 1, clock + 86_400) }
    let text =
      date(days: days) + " " + padded(clock / 3600, 2) + ":" + padded(clock / 60 % 60, 2) + ":"
      + padded(clock % 60, 2)
    guard rest > 0 else { return text }
    return text + "." + padded(rest * (1_000_000_000 / parts), 9).prefix(parts == 1000 ? 3 : 6)
  }

  private static func padded(_ value: Int64, _ width: Int) -> String {
    let digits = "\(value.magnitude)"
    return (value < 0 ? "-" : "") + String(repeating: "0", count: max(0, width - digits.count))
      + digits
  }
}
