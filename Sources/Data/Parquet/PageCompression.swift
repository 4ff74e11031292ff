import CSnappy
import CZlib
import CZstd
import Support

/// The compressions of pages that are read, with their numbers in the format.
enum PageCompression: Int {
  case none = 0
  case snappy = 1
  case gzip = 2
  case zstd = 6

  /// - Throws: `DATA-101` for another one.
  init(codec: Int, path: String) throws(Fault) {
    guard let known = Self(rawValue: codec) else {
      let names = [3: "LZO", 4: "Brotli", 5: "LZ4", 7: "raw LZ4"]
      throw ParquetFault.unsupported(path, "\(names[codec] ?? "unknown") compression")
    }
    self = known
  }

  /// - Parameter size: how many bytes must come out; checked by the caller before.
  /// - Throws: `DATA-101` unless exactly so many come out.
  func expand(_ bytes: ArraySlice<UInt8>, to size: Int, path: String) throws(Fault) -> [UInt8] {
    if self == .none {
      guard bytes.count == size else { throw ParquetFault.damaged(path, "a page has another size") }
      return Array(bytes)
    }
    guard size > 0 else { return [] }
    var isGood = false
    let result = [UInt8](unsafeUninitializedCapacity: size) { target, count in
      isGood = bytes.withUnsafeBufferPointer { source in
        guard let from = source.baseAddress, let to = target.baseAddress else { return false }
        switch self {
        case .none: return false
        case .snappy: return Self.snappy(from, source.count, to, size)
        case .gzip: return Self.gzip(from, source.count, to, size)
        case .zstd: return ZSTD_decompress(to, size, from, source.count) == size
        }
      }
      count = isGood ? size : 0
    }
    guard isGood else { throw ParquetFault.damaged(path, "a page cannot be expanded") }
    return result
  }

  private static func snappy(
    _ from: UnsafePointer<UInt8>, _ count: Int, _ to: UnsafeMutablePointer<UInt8>, _ size: Int
  ) -> Bool {
    var told = 0
    return from.withMemoryRebound(to: CChar.self, capacity: count) { from in
      guard snappy_uncompressed_length(from, count, &told) == SNAPPY_OK, told == size else {
        return false
      }
      return to.withMemoryRebound(to: CChar.self, capacity: size) { to in
        snappy_uncompress(from, count, to, &told) == SNAPPY_OK && told == size
      }
    }
  }

  /// A gzip or zlib stream.
  private static func gzip(
    _ from: UnsafePointer<UInt8>, _ count: Int, _ to: UnsafeMutablePointer<UInt8>, _ size: Int
  ) -> Bool {
    guard let count = UInt32(exactly: count), let size = UInt32(exactly: size) else { return false }
    var stream = z_stream()
    // 32: finds out which of the two it is.
    guard
      inflateInit2_(
        &stream, 32 + 15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { return false }
    defer { inflateEnd(&stream) }
    stream.next_in = UnsafeMutablePointer(mutating: from)
    stream.avail_in = count
    stream.next_out = to
    stream.avail_out = size
    return inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_out == 0
  }
}
