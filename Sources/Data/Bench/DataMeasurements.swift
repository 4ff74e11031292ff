import Foundation
import Support
import Tensor

/// One thing of the data pipeline that can be timed; `work` does it once, on the calling thread.
public struct DataMeasurement: Sendable {
  public let name: String
  /// What is counted: pictures, frames, bytes.
  public let unit: String
  public let count: Int
  /// More to tell of the case: sizes, files.
  public let facts: JSONObject
  public let work: @Sendable () throws(Fault) -> Void
}

/// The work of the data pipeline on given files, in the cases that other libraries are timed with.
public enum DataMeasurements {
  private static let pictures: Set = ["jpg", "jpeg", "png", "webp", "gif"]
  private static let clips: Set = ["mp4", "mkv", "avi", "webm", "mov"]

  /// - Parameters:
  ///   - files: pictures, clips and texts, told apart by their names' ends.
  ///   - tokenizer: needed for texts.
  /// - Throws: faults of the files.
  public static func all(
    files: [String], settings: MediaSettings, tokenizer: Tokenizer?
  ) throws(Fault) -> [DataMeasurement] {
    func kind(_ file: String) -> String { (file as NSString).pathExtension.lowercased() }
    let processor = MediaProcessor(settings)
    let images = files.filter { pictures.contains(kind($0)) }
    var cases = images.isEmpty ? [] : try pictureCases(images, processor)
    for file in files where clips.contains(kind(file)) {
      cases += try clipCases(file, processor)
    }
    let texts = files.filter { !pictures.contains(kind($0)) && !clips.contains(kind($0)) }
    if let tokenizer, !texts.isEmpty { cases.append(try textCase(texts, tokenizer)) }
    return cases
  }

  private static func name(_ file: String) -> MediumName {
    MediumName(field: "", source: .file(file))
  }

  private static func pictureCases(
    _ files: [String], _ processor: MediaProcessor
  ) throws(Fault) -> [DataMeasurement] {
    let limits = processor.settings.limits
    var pixels = 0
    var patches = 0
    for file in files {
      let measured = try processor.measurePicture(name(file))
      pixels += measured.stored.pixels
      patches += measured.item.grid.patches
    }
    let facts = JSONObject([
      ("megapixels", JSONValue(Double(pixels) / 1e6)), ("patches", JSONValue(patches)),
    ])
    let memory = try PixelMemory(processor.settings)
    return [
      DataMeasurement(
        name: "decode", unit: "pictures", count: files.count, facts: facts,
        work: { () throws(Fault) in
          for file in files {
            let bytes = try processor.reader.bytes(name(file), limit: limits.pictureBytes)
            _ = try EncodedPicture(bytes, name(file), limits: limits).decoded()
          }
        }),
      DataMeasurement(
        name: "file to pixel_values", unit: "pictures", count: files.count, facts: facts,
        work: { () throws(Fault) in
          for file in files {
            let item = try processor.measurePicture(name(file)).item
            try memory.fill([try processor.loaded(item)])
          }
        }),
      DataMeasurement(
        name: "measure by the header", unit: "pictures", count: files.count, facts: facts,
        work: { () throws(Fault) in
          for file in files { _ = try processor.measurePicture(name(file)) }
        }),
    ]
  }

  private static func clipCases(
    _ file: String, _ processor: MediaProcessor
  ) throws(Fault) -> [DataMeasurement] {
    let name = name(file)
    let clip = try Clip(name, processor.reader)
    let item = try processor.measureClip(.string(file), field: "").item
    let frames = item.grid.t * processor.settings.temporalPatch
    let facts = JSONObject([
      ("file", .string((file as NSString).lastPathComponent)), ("frames", JSONValue(clip.frames)),
      ("size", .array([JSONValue(clip.size.height), JSONValue(clip.size.width)])),
    ])
    let count = clip.frames
    let memory = try PixelMemory(processor.settings)
    return [
      DataMeasurement(
        name: "decode every frame to RGB", unit: "frames", count: count, facts: facts,
        work: { () throws(Fault) in
          let clip = try Clip(name, processor.reader)
          for index in 0..<count { _ = try clip.frame(index) }
        }),
      DataMeasurement(
        name: "file to patches of resized frames", unit: "frames", count: frames, facts: facts,
        work: { () throws(Fault) in _ = try processor.loaded(item) }),
      DataMeasurement(
        name: "file to pixel_values_videos", unit: "frames", count: frames, facts: facts,
        work: { () throws(Fault) in try memory.fill([try processor.loaded(item)]) }),
    ]
  }

  private static func textCase(
    _ files: [String], _ tokenizer: Tokenizer
  ) throws(Fault) -> DataMeasurement {
    var texts: [String] = []
    for file in files { texts.append(String(decoding: try AtomicFile.read(file), as: UTF8.self)) }
    let pieces = texts.flatMap { $0.components(separatedBy: "\n\n") }
    let bytes = pieces.reduce(0) { $0 + $1.utf8.count }
    return DataMeasurement(
      name: "tokenize by paragraphs, new encoder", unit: "bytes", count: bytes,
      facts: JSONObject([("pieces", JSONValue(pieces.count))]),
      work: { () throws(Fault) in
        var encoder = TokenEncoder(tokenizer)
        var ids: [Int32] = []
        for piece in pieces {
          ids.removeAll(keepingCapacity: true)
          encoder.encode(piece, into: &ids)
        }
      })
  }
}

/// Where training puts the numbers for the tower: tensors of an engine, whose memory is used again.
private struct PixelMemory: Sendable {
  let settings: MediaSettings
  let engine: Engine

  init(_ settings: MediaSettings) throws(Fault) {
    self.settings = settings
    engine = try Engine(threads: 1)
  }

  func fill(_ items: [MediaItem]) throws(Fault) {
    let patches = items.reduce(0) { $0 + $1.grid.patches }
    let pixels = try Tensor([patches, settings.patchValues], .float32, on: engine)
    try settings.write(items, to: pixels.pointer(as: Float.self))
  }
}
