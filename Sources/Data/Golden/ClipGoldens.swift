import Foundation
import Support

/// Compares sampling, sizes, texts, frames and patches of clips with `video.json`.
/// - Throws: `FILE-001`, `DATA-101` if the golden itself cannot be read.
public func runClipGolden(
  golden: String, dataRoot: String, tokenizer: Tokenizer
) throws(Fault) -> GoldenReport {
  let root = try goldenValue(golden)
  let tensors = try? GoldenTensorFile(String(golden.dropLast(5)) + ".safetensors")
  var report = GoldenReport(file: golden)
  for (i, row) in (root["rows"]?.array ?? []).enumerated() {
    report.cases += 1
    do throws(Fault) {
      let check = try ClipCheck(row, dataRoot: dataRoot, tensors: tensors)
      if let text = try check.difference(tokenizer) { report.failures.append("clip \(i): \(text)") }
    } catch { report.failures.append("clip \(i): \(error.message)") }
  }
  for row in root["sampling"]?.array ?? [] { try compareSampling(&report, row) }
  for row in root["resize"]?.array ?? [] {
    let settings = try MediaSettings(golden: row["env"], dataRoot: dataRoot)
    let size = PictureSize(height: row["height"]?.int ?? 0, width: row["width"]?.int ?? 0)
    let frames = row["nframes"]?.int ?? 0
    let found = try settings.clipSize(size, frames: frames, nameless)
    report.compare("size \(size) \(frames)", [found.height, found.width], row["resized"]?.ints)
    report.compare("pixels", settings.clipPixels(frames: frames), row["max_pixels"]?.double)
  }
  return report
}

private let nameless = MediumName(field: "", source: .file("clip"))

private func compareSampling(_ report: inout GoldenReport, _ row: JSONValue) throws(Fault) {
  let settings = try MediaSettings(golden: row["env"], dataRoot: "")
  let frames = row["total_frames"]?.int ?? 0
  let label = "sampling \(frames) \(row["fps"]?.write() ?? "")"
  let sampling = try? FrameSampling(
    frames: frames, rate: row["fps"]?.double ?? 0, settings: settings, nameless)
  guard let sampling else {
    report.compare(label, "refused", row["error"] == nil ? "taken" : "refused")
    return
  }
  report.compare("\(label) frames", sampling.indices.count, row["nframes"]?.int)
  // Of long cases only both ends are kept.
  let isWhole = row["all_indices"]?.bool ?? true
  let wanted = row["indices"]?.ints ?? []
  let found =
    isWhole ? sampling.indices : Array(sampling.indices.prefix(32) + sampling.indices.suffix(32))
  report.compare("\(label) indices", found, wanted)
  let times = sampling.times(temporal: settings.temporalPatch)
  let texts = row["timestamps"]?.array?.compactMap(\.string) ?? []
  let ends = Array(times.prefix(16) + times.suffix(16))
  report.compare("\(label) times", isWhole ? times : ends, texts)
}

/// One clip of the golden file.
private struct ClipCheck {
  let row: JSONValue
  let processor: MediaProcessor
  let tensors: GoldenTensorFile?
  let measured: MediaProcessor.MeasuredClip

  init(_ row: JSONValue, dataRoot: String, tensors: GoldenTensorFile?) throws(Fault) {
    self.row = row
    self.tensors = tensors
    let settings = try MediaSettings(golden: row["env"], dataRoot: dataRoot + "/media")
    processor = MediaProcessor(settings)
    let word = row["video"]?.string ?? ""
    let value: JSONValue =
      word.hasPrefix("frames:")
      ? .array(word.dropFirst(7).split(separator: ",").map { .string(String($0)) })
      : .string(word)
    measured = try processor.measureClip(value, field: "videos[0]")
  }

  func difference(_ tokenizer: Tokenizer) throws(Fault) -> String? {
    if let text = row.gridDifference(measured.item.grid) { return text }
    if let text = try framesDifference() { return text }
    let item = try processor.loaded(measured.item)
    let pixels = try processor.settings.pixels(of: [item])
    let share = pixels.count / 10_000
    return row.sumDifference(pixels, tolerance: 1e-4 / 127.5 + 1e-6)
      ?? row["saved_as"]?.string.flatMap { tensors?.floats("\($0).pixel_values_videos") }.flatMap {
        pixels.difference($0, tolerance: 1e-6, within: share)
          ?? pixels.difference($0, tolerance: 1 / 127.5 + 1e-6, within: 0)
      } ?? expansionDifference(tokenizer)
  }

  /// Frames as decoded: equal bytes.
  private func framesDifference() throws(Fault) -> String? {
    guard case .clip(let name, let indices, _) = measured.item.recipe else { return nil }
    if indices != row["frame_indices"]?.ints { return "frames \(indices)" }
    let clip = try Clip(name, processor.reader)
    if clip.frames != row["total_frames"]?.int { return "\(clip.frames) frames" }
    if clip.rate != row["video_fps"]?.double { return "\(clip.rate) frames per second" }
    let digests = row["decoded_frame_sha256"]?.array?.compactMap(\.string) ?? []
    for (i, index) in indices.enumerated() {
      let frame = try clip.frame(index)
      if i < digests.count, hexDigest(frame.bytes) != digests[i] { return "frame \(index) differs" }
    }
    return nil
  }

  private func expansionDifference(_ tokenizer: Tokenizer) -> String? {
    do throws(Fault) {
      let tags = try VisionTags(processor, tokenizer: tokenizer)
      var media = PreparedMedia(row: StandardRow(messages: [], source: .init(file: "", line: 0)))
      media.clips = [measured]
      let ids = tokenizer.encode(VisionTags.start + VisionTags.videoPad + VisionTags.end)
      let expanded = try tags.expand(
        EncodedRow(inputIDs: ids, labels: ids.map { _ in -100 }), with: media
      ).inputIDs
      if expanded.count != row["expanded_len"]?.int { return "\(expanded.count) tokens" }
      let wanted = tokenIDs(row["expanded_ids"])
      return wanted.isEmpty || wanted == expanded ? nil : "token ids differ"
    } catch { return error.message }
  }
}
