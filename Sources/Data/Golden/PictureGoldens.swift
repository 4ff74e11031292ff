import Foundation
import Support

/// Names of the golden files of media.
public let mediaGoldenFiles = [
  "image.json", "video.json", "rows_media.json", "rows_grounding_legacy.json",
  "rows_grounding_new.json", "rope.json",
]

/// Positions of the tokens along time, height and width, [3][t], by the model that the caller has.
public typealias GoldenPositions = @Sendable ([Int32], [MediaGrid]) throws(Fault) -> [[Int32]]

/// Compares one of `mediaGoldenFiles` with what this pipeline makes.
/// - Parameters:
///   - dataRoot: the folder that the rows' file names are relative to.
///   - positions: nil leaves positions out.
/// - Throws: `FILE-001` if a file is missing, `DATA-101` if it cannot be read.
public func runMediaGolden(
  golden: String, dataRoot: String, tokenizer: Tokenizer, positions: GoldenPositions? = nil
) throws(Fault) -> GoldenReport {
  switch golden.split(separator: "/").last ?? "" {
  case "rope.json":
    guard let positions, let image = tokenizer.id(of: "<|image_pad|>"),
      let video = tokenizer.id(of: "<|video_pad|>")
    else { return GoldenReport(file: golden) }
    return try runPositionGolden(golden: golden, image: image, video: video, positions: positions)
  case "image.json": return try runPictureGolden(golden: golden, dataRoot: dataRoot)
  case "video.json":
    return try runClipGolden(golden: golden, dataRoot: dataRoot, tokenizer: tokenizer)
  default:
    return try runMediaRowsGolden(
      golden: golden, dataRoot: dataRoot, tokenizer: tokenizer, positions: positions)
  }
}

extension MediaSettings {
  /// Settings of a golden case.
  init(golden environment: JSONValue?, dataRoot: String) throws(Fault) {
    self.init()
    var variables: [String: String] = [:]
    for (key, value) in environment?.object?.members ?? [] {
      variables[key] = value.string ?? value.write()
    }
    _ = try read(variables)
    baseFolder = dataRoot
  }
}

/// Compares decoded, resized and cut pictures, and the table of sizes, with `image.json`.
/// - Throws: `FILE-001`, `DATA-101` if the golden itself cannot be read.
public func runPictureGolden(golden: String, dataRoot: String) throws(Fault) -> GoldenReport {
  let root = try goldenValue(golden)
  let tensors = try? GoldenTensorFile(String(golden.dropLast(5)) + ".safetensors")
  var report = GoldenReport(file: golden)
  for row in root["rows"]?.array ?? [] {
    let file = row["file"]?.string ?? ""
    let tokens = row["image_max_token_num"]?.int ?? 0
    report.cases += 1
    do throws(Fault) {
      if let text = try pictureDifference(row, file: file, dataRoot: dataRoot, tensors) {
        report.failures.append("\(file)@\(tokens): \(text)")
      }
    } catch { report.failures.append("\(file)@\(tokens): \(error.message)") }
  }
  for size in root["sizes"]?.array ?? [] { compareSize(&report, size.array ?? []) }
  return report
}

private func pictureDifference(
  _ row: JSONValue, file: String, dataRoot: String, _ tensors: GoldenTensorFile?
) throws(Fault) -> String? {
  var settings = MediaSettings()
  let tokens = row["image_max_token_num"]?.int ?? 16_384
  settings.imageTokens = (row["image_min_token_num"]?.int ?? 4)...tokens
  settings.baseFolder = dataRoot + "/media"
  let processor = MediaProcessor(settings)
  let name = MediumName(field: "", source: .file(file))
  let bytes = try processor.reader.bytes(name, limit: settings.limits.pictureBytes)
  let decoded = try EncodedPicture(bytes, name, limits: settings.limits).decoded().picture
  if decoded.size.width != row["width"]?.int || decoded.size.height != row["height"]?.int {
    return "size \(decoded.size)"
  }
  if hexDigest(decoded.bytes) != row["decoded_rgb_sha256"]?.string { return "decoded differs" }
  let measured: MediaProcessor.MeasuredPicture
  do throws(Fault) { measured = try processor.measurePicture(name) } catch {
    return row["error"] == nil ? error.message : nil
  }
  if let text = row["error"]?.string { return "measured, where \(text) was expected" }
  let resized = try decoded.resized(to: measured.size)
  if measured.size.height != row["resized_height"]?.int
    || measured.size.width != row["resized_width"]?.int
  {
    return "resized to \(measured.size)"
  }
  if hexDigest(resized.bytes) != row["resized_rgb_sha256"]?.string { return "resized differs" }
  let item = try processor.loaded(measured.item)
  let pixels = try settings.pixels(of: [item])
  return row.gridDifference(item.grid)
    ?? row.sumDifference(pixels, tolerance: 1e-6)
    ?? tensors.flatMap { $0.floats("\(file)@\(tokens).pixel_values") }.flatMap {
      pixels.difference($0, tolerance: 1e-6, within: 0)
    }
}

private func compareSize(_ report: inout GoldenReport, _ size: [JSONValue]) {
  let numbers = size.compactMap(\.int)
  guard numbers.count >= 4 else { return }
  var settings = MediaSettings()
  settings.imageTokens = numbers[3]...max(numbers[2], numbers[3])
  let found = try? settings.pictureSize(
    PictureSize(height: numbers[0], width: numbers[1]),
    MediumName(field: "", source: .file("size")))
  // A side of 0 is refused here; the processor refuses it one step later.
  let wanted = numbers.dropFirst(4).contains(0) ? [] : Array(numbers.dropFirst(4))
  report.compare("size \(numbers)", found.map { [$0.height, $0.width] } ?? [], wanted)
}

extension MediaProcessor {
  /// The item with its patches.
  func loaded(_ item: MediaItem) throws(Fault) -> MediaItem {
    try load(EncodedRow(inputIDs: [], labels: [], media: [item])).media[0]
  }
}

func hexDigest(_ bytes: [UInt8]) -> String {
  let hash = Digest(.sha256)
  hash.update(bytes)
  return hash.hexadecimal()
}

extension JSONValue {
  func gridDifference(_ grid: MediaGrid) -> String? {
    [grid.t, grid.h, grid.w] == self["grid_thw"]?.ints ? nil : "grid \(grid)"
  }

  /// Compares the sums over all pixel values; `tolerance` is that of a single value, on average.
  func sumDifference(_ pixels: [Float], tolerance: Double) -> String? {
    let sum = pixels.reduce(0.0) { $0 + Double($1) }
    let absolute = pixels.reduce(0.0) { $0 + Double(abs($1)) }
    let allowed = tolerance * Double(pixels.count) + 1e-3
    for (found, key) in [(sum, "pixel_values_sum"), (absolute, "pixel_values_abs_sum")] {
      guard let wanted = self[key]?.double else { return "\(key) is missing" }
      if abs(found - wanted) > allowed { return "\(key) \(found), expected \(wanted)" }
    }
    return nil
  }
}

extension [Float] {
  /// - Parameter within: how many values may leave the tolerance.
  func difference(_ wanted: [Float], tolerance: Float, within: Int) -> String? {
    guard count == wanted.count else { return "\(count) values, expected \(wanted.count)" }
    let bad = indices.filter { !(abs(self[$0] - wanted[$0]) <= tolerance) }
    guard bad.count > within, let first = bad.first else { return nil }
    return "\(bad.count) values differ, the first at \(first): \(self[first]), "
      + "expected \(wanted[first])"
  }
}
