import Support

/// Compares positions along time, height and width, and where generation goes on, with `rope.json`.
/// - Parameters:
///   - image: the id that stands for a part of a picture.
///   - video: the id that stands for a part of a clip.
/// - Throws: `FILE-001` if the file is missing, `DATA-101` if it cannot be read.
public func runPositionGolden(
  golden: String, image: Int32, video: Int32, positions: GoldenPositions
) throws(Fault) -> GoldenReport {
  let root = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  for row in root["cases"]?.array ?? [] {
    report.cases += 1
    let name = row["name"]?.string ?? "\(report.cases)"
    do throws(Fault) {
      var check = PositionCheck(row, image: image, video: video)
      if let text = try check.difference(positions) { report.failures.append("\(name): \(text)") }
    } catch { report.failures.append("\(name): \(error.message)") }
  }
  return report
}

/// One case: rows of a batch that share the lists of grids.
private struct PositionCheck {
  private let row: JSONValue
  /// Grids that no row has taken yet, by placeholder.
  private var grids: [Int: [MediaGrid]]
  private let merged: Int

  init(_ row: JSONValue, image: Int32, video: Int32) {
    self.row = row
    let settings = MediaSettings()
    merged = settings.merge * settings.merge
    grids = [:]
    for (id, key) in [(image, "image_grid_thw"), (video, "video_grid_thw")] {
      grids[Int(id)] = (row[key]?.intLists ?? []).filter { $0.count == 3 }
        .map { MediaGrid(t: $0[0], h: $0[1], w: $0[2]) }
    }
  }

  /// What differs first; nil where all is equal.
  mutating func difference(_ positions: GoldenPositions) throws(Fault) -> String? {
    let batch = row["input_ids"]?.intLists ?? []
    let masks = row["attention_mask"]?.intLists ?? []
    let axes = row["position_ids"]?.array?.compactMap(\.intLists) ?? []
    guard !batch.isEmpty, masks.count == batch.count, axes.count == 3,
      axes.allSatisfy({ $0.count == batch.count })
    else { return "the case cannot be read" }
    for (i, (ids, mask)) in zip(batch, masks).enumerated() {
      let real = ids.indices.filter { $0 < mask.count && mask[$0] != 0 }
      let own = real.map { ids[$0] }
      let found = try positions(own.map { Int32($0) }, take(own))
      for (axis, name) in ["time", "height", "width"].enumerated() {
        let wanted = real.map { $0 < axes[axis][i].count ? axes[axis][i][$0] : -1 }
        if found[axis].map({ Int($0) }) != wanted { return "row \(i): \(name) differs" }
      }
      // Padded rows have another one in every release.
      guard real.count == ids.count, let delta = row["rope_delta"]?.ints?[i] else { continue }
      let next = (found.joined().max().map { Int($0) } ?? -1) + 1
      if next - ids.count != delta { return "row \(i): delta \(next - ids.count), not \(delta)" }
    }
    return nil
  }

  /// Grids of one row's placeholders in order of appearance.
  private mutating func take(_ ids: [Int]) -> [MediaGrid] {
    var result: [MediaGrid] = []
    /// Placeholders of the medium begun last that are still to come, by kind.
    var open: [Int: Int] = [:]
    for id in ids {
      guard let left = grids[id] else { continue }
      if open[id, default: 0] == 0, let grid = left.first {
        grids[id]?.removeFirst()
        result.append(grid)
        open[id] = grid.patches / merged
      }
      open[id, default: 0] -= 1
    }
    return result
  }
}
