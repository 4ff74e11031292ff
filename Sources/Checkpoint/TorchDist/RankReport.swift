import Support
import Tensor

/// What the index has to say about one item that a rank has written.
public struct WrittenItem: Sendable, Equatable {
  public enum Content: Sendable, Equatable {
    case object
    case tensor(DType, globalShape: [Int], box: Box)
  }

  public let key: String
  public let content: Content
  public let location: ItemLocation
  /// Of all bytes of the item.
  public let crc32c: UInt32

  public init(key: String, content: Content, location: ItemLocation, crc32c: UInt32) {
    self.key = key
    self.content = content
    self.location = location
    self.crc32c = crc32c
  }
}

/// Name, size and checksum of a file of a checkpoint, and those of the items in it.
public struct WrittenFile: Sendable, Equatable {
  public let name: String
  public let size: Int
  public let crc32c: UInt32
  /// In the order of the file, without gaps; empty for a file that is a whole.
  public var items: [Item]

  public struct Item: Sendable, Equatable {
    /// Key of the tensor or object, and the place of the piece for messages.
    public let key: String
    public let offset: Int
    public let length: Int
    public let crc32c: UInt32

    public init(key: String, offset: Int, length: Int, crc32c: UInt32) {
      self.key = key
      self.offset = offset
      self.length = length
      self.crc32c = crc32c
    }
  }

  public init(name: String, size: Int, crc32c: UInt32, items: [Item] = []) {
    self.name = name
    self.size = size
    self.crc32c = crc32c
    self.items = items
  }
}

/// All that one rank has written; rank 0 needs the reports of all ranks for the index.
///
/// `bytes` and `init(bytes:)` carry a report from rank to rank.
public struct RankReport: Sendable, Equatable {
  public let rank: Int
  public let items: [WrittenItem]
  public let files: [WrittenFile]

  public init(rank: Int, items: [WrittenItem], files: [WrittenFile]) {
    self.rank = rank
    self.items = items
    self.files = files
  }

  /// The files, each with its items.
  var filesWithItems: [WrittenFile] {
    let byFile = Dictionary(grouping: items, by: \.location.file)
    return files.map { file in
      var file = file
      file.items = (byFile[file.name] ?? []).sorted { $0.location.offset < $1.location.offset }
        .map { item in
          WrittenFile.Item(
            key: item.key, offset: item.location.offset, length: item.location.length,
            crc32c: item.crc32c)
        }
      return file
    }
  }

  public var bytes: [UInt8] { Array(json.write().utf8) }

  /// - Throws: `INT-001` when the bytes are no report.
  public init(bytes: [UInt8]) throws(Fault) {
    guard let json = try? bytes.withUnsafeBytes({ try JSONValue.parse($0) }),
      let report = RankReport(json: json)
    else { throw Fault(.internalError, "a rank sent a report of its files that is not readable") }
    self = report
  }

  public var json: JSONValue {
    let items = items.map { item -> JSONValue in
      var fields: [JSONValue] = [
        .string(item.key), .string(item.location.file), JSONValue(item.location.offset),
        JSONValue(item.location.length), JSONValue(Int(item.crc32c)),
      ]
      if case .tensor(let dtype, let shape, let box) = item.content {
        fields.append(.string(dtype.rawValue))
        for sizes in [shape, box.offsets, box.sizes] {
          fields.append(.array(sizes.map { JSONValue($0) }))
        }
      }
      return .array(fields)
    }
    let files = files.map {
      JSONValue.array([.string($0.name), JSONValue($0.size), JSONValue(Int($0.crc32c))])
    }
    return .object(
      JSONObject([
        ("rank", JSONValue(rank)), ("items", .array(items)), ("files", .array(files)),
      ]))
  }

  public init?(json: JSONValue) {
    guard let rank = json["rank"]?.int, let items = json["items"]?.array,
      let files = json["files"]?.array
    else { return nil }
    func sizes(_ value: JSONValue) -> [Int]? {
      let sizes = value.array?.compactMap(\.int)
      return sizes?.count == value.array?.count ? sizes : nil
    }
    var written: [WrittenItem] = []
    for item in items {
      guard let f = item.array, f.count == 5 || f.count == 9, let key = f[0].string,
        let file = f[1].string, let offset = f[2].int, let length = f[3].int,
        let crc = f[4].int.flatMap({ UInt32(exactly: $0) })
      else { return nil }
      let place = ItemLocation(file: file, offset: offset, length: length)
      if f.count == 5 {
        written.append(
          WrittenItem(key: key, content: .object, location: place, crc32c: crc))
        continue
      }
      guard let dtype = f[5].string.flatMap(DType.init(rawValue:)), let shape = sizes(f[6]),
        let offsets = sizes(f[7]), let extent = sizes(f[8])
      else { return nil }
      let box = Box(offsets: offsets, sizes: extent)
      written.append(
        WrittenItem(
          key: key, content: .tensor(dtype, globalShape: shape, box: box), location: place,
          crc32c: crc))
    }
    var list: [WrittenFile] = []
    for file in files {
      guard let f = file.array, f.count == 3, let name = f[0].string, let size = f[1].int,
        let crc = f[2].int.flatMap({ UInt32(exactly: $0) })
      else { return nil }
      list.append(WrittenFile(name: name, size: size, crc32c: crc))
    }
    self.init(rank: rank, items: written, files: list)
  }
}
