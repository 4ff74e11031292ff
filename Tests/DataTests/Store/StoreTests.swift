import Foundation
import Synchronization
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct StoreTests {
  /// Rows of every kind.
  private var rows: [StoredRow] {
    let source = StandardRow.Source(file: "a.jsonl", line: 3)
    var picture = MediaItem(
      grid: MediaGrid(t: 1, h: 2, w: 4),
      recipe: .picture(
        MediaFixtures.name("a.jpg"), capped: .init(height: 3, width: 5),
        size: .init(height: 32, width: 64)))
    picture.stored = StoredPatches(path: "rows.h5", array: "rows/patches", place: 7..<9, slots: 1)
    let clip = MediaItem(
      grid: MediaGrid(t: 2, h: 2, w: 2),
      recipe: .clip(
        MediumName(field: "videos[0]", source: .address("http://a/b.mp4")), indices: [0, 4, 8, 9],
        size: .init(height: 32, width: 32)))
    let list = MediaItem(
      grid: MediaGrid(t: 1, h: 2, w: 2),
      recipe: .list(
        [MediumName(field: "videos[1][0]", source: .inline("abcd"))],
        each: .init(height: 64, width: 64), size: .init(height: 32, width: 32)))
    return [
      StoredRow(
        outcome: .kept(
          EncodedRow(
            inputIDs: [1, 2, 3], labels: [-100, 2, 3], lossScale: [0, 1, 0.5], channel: "c",
            media: [picture, clip, list]), wasCut: true, warnings: ["doubtful"]), source: source),
      StoredRow(outcome: .tooLong(reason: "row has 9 tokens"), source: source),
      StoredRow(outcome: .bad(reason: "no “answer”"), source: source),
      StoredRow(
        outcome: .kept(EncodedRow(inputIDs: [4], labels: [4]), wasCut: false, warnings: []),
        source: .init(file: "b.jsonl", line: 1)),
    ]
  }

  @Test("Rows of every kind come back as they were written, in one part or several")
  func roundTrip() throws {
    let folder = try Fixtures.Folder()
    let path = "\(folder.path)/rows.h5"
    for step in [4, 1] {
      let file = try ArrayFile(creating: path)
      var wanted = rows
      // Patches are found in the file that names them.
      for i in wanted.indices {
        guard case .kept(var row, let cut, let told) = wanted[i].outcome else { continue }
        for k in row.media.indices where row.media[k].stored != nil {
          row.media[k].stored = StoredPatches(
            path: path, array: "rows/patches", place: 7..<9, slots: 1)
        }
        wanted[i].outcome = .kept(row, wasCut: cut, warnings: told)
      }
      for start in stride(from: 0, to: rows.count, by: step) {
        try EncodedArrays(file: file, prefix: "rows").append(
          Array(wanted[start..<min(start + step, rows.count)]))
      }
      try file.close()
      let found = try EncodedArrays(file: ArrayFile(reading: path), prefix: "rows").rows()
      #expect(found == wanted)
    }
  }

  @Test("Damage anywhere in a file ends in a fault or in the rows themselves", arguments: 1...3)
  func damage(seed: Int) throws {
    var random = RandomState(seed: seed)
    let folder = try Fixtures.Folder()
    let path = "\(folder.path)/rows.h5"
    let file = try ArrayFile(creating: path)
    try EncodedArrays(file: file, prefix: "rows").append(rows)
    try file.close()
    let good = [UInt8](try #require(FileManager.default.contents(atPath: path)))
    var faults = 0
    for _ in 0..<30 {
      var bytes = good
      if random.integer(below: 4) == 0 {
        bytes.removeLast(1 + random.integer(below: bytes.count - 1))
      } else {
        bytes[random.integer(below: bytes.count)] ^= UInt8(1 + random.integer(below: 255))
      }
      try Data(bytes).write(to: URL(fileURLWithPath: path))
      do throws(Fault) {
        _ = try EncodedArrays(file: ArrayFile(reading: path), prefix: "rows").rows()
      } catch {
        faults += 1
        #expect(error.code == .badStore || error.code == .missingFile)
      }
    }
    #expect(faults > 0, "seed \(seed)")
  }

  @Test("A text file and a missing one are told apart")
  func noStore() throws {
    let folder = try Fixtures.Folder()
    let text = try folder.write("a.h5", "no such thing")
    #expect(TextFixtures.fault { _ = try ArrayFile(reading: text) }?.code == .badStore)
    #expect(TextFixtures.fault { _ = try ArrayFile(reading: text + "x") }?.code == .missingFile)
  }
}

/// Encoding once for many runs.
@Suite struct CachedDatasetTests {
  private func rows(_ pictures: [String], in folder: Fixtures.Folder) throws -> String {
    let lines = pictures.enumerated().map {
      #"{"query": "what is \#($0.offset)", "response": "this", "images": ["\#($0.element)"]}"#
        + "\n"
    }
    return try folder.write("rows.jsonl", lines.joined())
  }

  private let pictures = ["media/thumb_40x27.jpg", "media/onebit.png", "media/gray16.png"]

  private func options(_ file: String, packing: Bool = false) throws -> DataOptions {
    var options = MediaFixtures.options(file)
    options.encoding.maxLength = 64
    options.encoding.packing = packing
    options.encoding.fingerprint = "test"
    options.encoding.parts = [EncodingPart("tokenizer", "one")]
    return options
  }

  private func write(_ options: DataOptions, to path: String, patches: Bool) throws -> [String] {
    let template = try MediaFixtures.template()
    return try CachedDatasetWriter(path: path, parts: path + ".parts", keepsPatches: patches).write(
      options: options, encode: { (row) throws(Fault) in try template.encode(row) },
      media: MediaFixtures.processor()
    ).lines
  }

  private func prepare(_ options: DataOptions) throws -> any SampleSource {
    let template = try MediaFixtures.template()
    let data = try DatasetPlan.prepare(
      options: options, encode: { (row) throws(Fault) in try template.encode(row) },
      media: MediaFixtures.processor())
    guard case .indexed(let samples) = data.train else { throw Fault(.internalError, "a stream") }
    return samples
  }

  private func documents(_ samples: any SampleSource) throws -> [[[Int32]]] {
    try (0..<samples.count).map { try samples.documents($0).map(\.inputIDs) }
  }

  @Test("Training takes the same samples from a cached data set", arguments: [false, true])
  func sameSamples(patches: Bool) throws {
    let folder = try Fixtures.Folder()
    let file = try rows(pictures + pictures, in: folder)
    for packing in [false, true] {
      let path = "\(folder.path)/\(packing).h5"
      var options = try options(file, packing: packing)
      let fresh = try prepare(options)
      let lines = try write(options, to: path, patches: patches)
      #expect(lines.count == 1)
      #expect(Folder.kind(path + ".parts") == .nothing)
      options.sources.train = []
      options.sources.cached = [path]
      let cached = try prepare(options)
      #expect(try documents(cached) == documents(fresh))
      for index in 0..<fresh.count {
        let a = try fresh.documents(index).flatMap(\.media).map(\.patches)
        let b = try cached.documents(index).flatMap(\.media).map(\.patches)
        #expect(a == b)
      }
    }
  }

  @Test("Rows over the length of a run are left out of a cached data set too")
  func otherLength() throws {
    let folder = try Fixtures.Folder()
    let path = "\(folder.path)/a.h5"
    var options = try options(try rows(pictures, in: folder))
    _ = try write(options, to: path, patches: false)
    options.sources.train = []
    options.sources.cached = [path, path]
    let all = try prepare(options)
    #expect(all.count == 6)
    let lengths = try (0..<3).map { try all.documents($0)[0].inputIDs.count }
    options.encoding.maxLength = try #require(lengths.max()) - 1
    #expect(try prepare(options).count == 2 * lengths.count { $0 < lengths.max()! })
  }

  @Test("Another tokenizer, another setting and a changed file are noticed")
  func changes() throws {
    let folder = try Fixtures.Folder()
    let file = try rows(pictures, in: folder)
    let path = "\(folder.path)/a.h5"
    let options = try options(file)
    _ = try write(options, to: path, patches: false)
    var other = options
    other.sources.train = []
    other.sources.cached = [path]
    other.encoding.parts = [EncodingPart("tokenizer", "two")]
    let first = try #require(TextFixtures.fault { _ = try prepare(other) })
    #expect(first.code == .otherStore && first.message.contains("another tokenizer"))
    other.encoding.parts = options.encoding.parts
    _ = try prepare(other)
    // The same bytes again are no change; other bytes are.
    let bytes = try #require(FileManager.default.contents(atPath: file))
    try bytes.write(to: URL(fileURLWithPath: file))
    _ = try prepare(other)
    try (bytes + Data("\n".utf8)).write(to: URL(fileURLWithPath: file))
    let second = try #require(TextFixtures.fault { _ = try prepare(other) })
    #expect(second.code == .otherStore && second.message.contains("changed since"))
  }

  @Test("A pass that was interrupted goes on with the blocks it has")
  func resuming() throws {
    let folder = try Fixtures.Folder()
    let path = "\(folder.path)/a.h5"
    let options = try options(try rows(pictures, in: folder))
    let template = try MediaFixtures.template()
    let calls = Counter()
    let writer = CachedDatasetWriter(path: path, parts: path + ".parts", keepsPatches: false)
    let encode: RowEncoding = { (row) throws(Fault) in
      calls.add()
      return try template.encode(row)
    }
    // A file in the way of the finished one stands for a kill at the last moment.
    try FileManager.default.createDirectory(
      atPath: path + "/in the way", withIntermediateDirectories: true)
    #expect(throws: Fault.self) {
      _ = try writer.write(options: options, encode: encode, media: MediaFixtures.processor())
    }
    #expect(calls.count == 3)
    try FileManager.default.removeItem(atPath: path)
    _ = try writer.write(options: options, encode: encode, media: MediaFixtures.processor())
    #expect(calls.count == 3)
    #expect(Folder.kind(path) == .file)
  }

  @Test("A cached data set notices a picture that changed or is gone, but not one that was copied")
  func changedMedia() throws {
    let folder = try Fixtures.Folder()
    let copy = "\(folder.path)/copy.jpg"
    let source = "\(Fixtures.data)/media/thumb_40x27.jpg"
    let bytes = try #require(FileManager.default.contents(atPath: source))
    func put(_ bytes: Data) throws {
      try bytes.write(to: URL(fileURLWithPath: copy))
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSince1970: 1e9)], ofItemAtPath: copy)
    }
    try bytes.write(to: URL(fileURLWithPath: copy))
    let path = "\(folder.path)/a.h5"
    let options = try options(try rows([copy, "media/onebit.png"], in: folder))
    var cached = options
    cached.sources.train = []
    cached.sources.cached = [path]
    _ = try write(options, to: path, patches: false)
    try put(bytes)
    _ = try prepare(cached)
    var other = bytes
    other[other.count / 2] ^= 1
    try put(other)
    let changed = try #require(TextFixtures.fault { _ = try prepare(cached) })
    #expect(changed.code == .otherStore && changed.message.contains("\(copy) changed since"))
    try FileManager.default.removeItem(atPath: copy)
    let gone = try #require(TextFixtures.fault { _ = try prepare(cached) })
    #expect(gone.code == .otherStore && gone.message.contains("not there any more"))
    // With its patches stored, a data set needs no media.
    try put(bytes)
    _ = try write(options, to: path, patches: true)
    try FileManager.default.removeItem(atPath: copy)
    #expect(try prepare(cached).documents(0).flatMap(\.media).allSatisfy { $0.patches != nil })
  }

  @Test("The cache notices that a picture changed")
  func changedPicture() throws {
    let folder = try Fixtures.Folder()
    let copy = "\(folder.path)/copy.jpg"
    let source = "\(Fixtures.data)/media/thumb_40x27.jpg"
    try FileManager.default.copyItem(atPath: source, toPath: copy)
    var options = try options(try rows([copy], in: folder))
    options.encoding.cacheFolder = "\(folder.path)/cache"
    let first = try documents(prepare(options))
    #expect(try documents(prepare(options)) == first)
    try FileManager.default.removeItem(atPath: copy)
    try FileManager.default.copyItem(
      atPath: "\(Fixtures.data)/media/gray16.png", toPath: copy)
    #expect(try documents(prepare(options)) != first)
  }
}

/// Counts calls from several threads.
private final class Counter: Sendable {
  private let value = Mutex(0)
  var count: Int { value.withLock { $0 } }
  func add() { value.withLock { $0 += 1 } }
}
