import Support

/// Compares ids, trained spans, grids, pixels and positions of rows with media.
/// - Throws: `FILE-001` if a file is missing, `DATA-101` if it cannot be read.
public func runMediaRowsGolden(
  golden: String, dataRoot: String, tokenizer: Tokenizer, positions: GoldenPositions? = nil
) throws(Fault) -> GoldenReport {
  let root = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  var files = GoldenRows(root: dataRoot)
  let processor = MediaProcessor(try MediaSettings(golden: root["env"], dataRoot: dataRoot))
  let tags = try VisionTags(processor, tokenizer: tokenizer)
  for (i, wanted) in (root["rows"]?.array ?? []).enumerated() {
    report.cases += 1
    var options = try wanted.templateOptions()
    options.media = tags
    let template = try ChatTemplate(options: options, tokenizer: tokenizer)
    let row = try files.row(wanted)
    if let text = wanted.difference(template, row)
      ?? wanted.mediaDifference(template, row, processor, positions)
    {
      report.failures.append("rows[\(i)] \(wanted.goldenPlace): \(text)")
    }
  }
  return report
}

extension JSONValue {
  /// Grids, a sample of the pixels, and positions.
  fileprivate func mediaDifference(
    _ template: ChatTemplate, _ row: StandardRow, _ processor: MediaProcessor,
    _ positions: GoldenPositions?
  ) -> String? {
    guard self["error"] == nil else { return nil }
    do throws(Fault) {
      let encoded = try processor.load(try template.encode(row))
      for (key, pixelKey, isClip) in [
        ("image_grid_thw", "pixel_values", false), ("video_grid_thw", "pixel_values_videos", true),
      ] {
        let items = encoded.media.filter { $0.isClip == isClip }
        let grids = items.map { [$0.grid.t, $0.grid.h, $0.grid.w] }
        if grids != self[key]?.intLists ?? [] { return "\(key) \(grids)" }
        guard let wanted = self[pixelKey] else { continue }
        let pixels = try processor.settings.pixels(of: items)
        if let text = wanted.pixelDifference(pixels) { return "\(pixelKey): \(text)" }
      }
      guard let positions, let wanted = self["position_ids"]?.intLists else { return nil }
      let found = try positions(encoded.inputIDs, encoded.media.map(\.grid)).map {
        $0.map { Int($0) }
      }
      return found == wanted ? nil : "positions differ"
    } catch {
      return error.message
    }
  }

  private func pixelDifference(_ pixels: [Float]) -> String? {
    let count = Double(pixels.count)
    let mean = pixels.reduce(0.0) { $0 + Double($1) } / count
    let absolute = pixels.reduce(0.0) { $0 + Double(abs($1)) } / count
    if let shape = self["shape"]?.ints, shape.reduce(1, *) != pixels.count {
      return "\(pixels.count) values"
    }
    for (found, key) in [(mean, "mean"), (absolute, "abs_mean")] {
      let wanted = self[key]?.double ?? .nan
      if !(abs(found - wanted) <= 1e-5) { return "\(key) \(found), expected \(wanted)" }
    }
    for (found, key) in [(Array(pixels.prefix(4)), "first"), (Array(pixels.suffix(4)), "last")] {
      let wanted = self[key]?.array?.compactMap { $0.double.map { Float($0) } } ?? []
      // A frame of a clip may be off by one level in the resized bytes.
      if let text = found.difference(wanted, tolerance: 1 / 127.5 + 1e-5, within: 0) {
        return "\(key): \(text)"
      }
    }
    return nil
  }
}
