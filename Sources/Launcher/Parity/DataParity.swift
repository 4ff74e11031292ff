import DataPipeline
import Foundation
import Model
import Support

/// `megatron-parity --data_golden`: stored cases of the data pipeline.
struct DataParity {
  let options: ParityOptions
  let isSpeaker: Bool

  /// - Returns: the number of cases that differ.
  /// - Throws: `FILE-001`, `DATA-101` for goldens that cannot be read; faults of the tokenizer.
  func run() throws(Fault) -> Int {
    guard let golden = options.parity.dataGolden, let root = options.parity.dataRoot,
      let folder = options.parity.tokenizer
    else { return 0 }
    let tokenizer = try Tokenizer(folder: folder)
    var failures = 0
    let known = textGoldenFiles + mediaGoldenFiles + ["dataset.json", "packing.json"]
    for name in known {
      let path = golden + "/" + name
      guard FileManager.default.fileExists(atPath: path) else {
        say("skipped: \(name) is not in \(golden)")
        continue
      }
      let report = try compare(name, path, root, tokenizer)
      say(report.summary)
      for failure in report.failures.prefix(20) { say("  \(failure)") }
      failures += report.failures.count
    }
    for name in try Folder.names(golden).sorted()
    where name.hasSuffix(".json") && !known.contains(name) {
      say("not compared: \(name)" + (Self.information[name].map { ": \($0)" } ?? ""))
    }
    return failures
  }

  /// Files that tell something and hold no cases.
  private static let information = [
    "video_framelist_0014.json": "sizes of frame lists in a release that rounded them otherwise"
  ]

  private func compare(
    _ name: String, _ path: String, _ root: String, _ tokenizer: Tokenizer
  ) throws(Fault) -> GoldenReport {
    switch name {
    case "dataset.json": return try runDatasetGolden(golden: path, dataRoot: root)
    case "packing.json": return try runPackingGolden(golden: path)
    case _ where mediaGoldenFiles.contains(name):
      return try runMediaGolden(
        golden: path, dataRoot: root, tokenizer: tokenizer, positions: positions(tokenizer))
    default: return try runTextGolden(golden: path, dataRoot: root, tokenizer: tokenizer)
    }
  }

  /// Positions by the model's own rule, with the sizes of the published models.
  private func positions(_ tokenizer: Tokenizer) -> GoldenPositions {
    Self.positions(
      placeholders: Set(["<|image_pad|>", "<|video_pad|>"].compactMap { tokenizer.id(of: $0) }))
  }

  static func positions(placeholders pads: Set<Int32>) -> GoldenPositions {
    { (ids, grids) throws(Fault) in
      let axes = try AxisPositions(
        ids: ids, grids: grids.map { PatchGrid($0) }, documentStarts: [0, Int32(ids.count)],
        placeholders: pads, mergeSize: MediaSettings().merge)
      return [axes.time, axes.height, axes.width]
    }
  }

  private func say(_ line: String) {
    if isSpeaker { Terminal.write(line + "\n", to: .output) }
  }
}

extension PatchGrid {
  /// The grid of a medium as the model counts it.
  init(_ grid: MediaGrid) { self.init(t: grid.t, h: grid.h, w: grid.w) }
}
