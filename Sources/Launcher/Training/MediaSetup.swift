import DataPipeline
import Foundation
import Model
import Support
import Tensor

/// How a model with a vision tower takes pictures and clips.
struct MediaSetup {
  let vision: VisionConfig
  let settings: MediaSettings
  /// Variables that were set, for the log.
  let lines: [String]

  var processor: MediaProcessor { MediaProcessor(settings) }

  /// - Parameters:
  ///   - variables: the environment; `--model_kwargs` win over it.
  /// - Returns: nil for a model without vision.
  /// - Throws: `DATA-404` for settings that cannot be used, `OPT-103` for `--model_kwargs` that are
  ///   no object, `MODEL-101` for a picture processor that is not the tower's.
  init?(
    _ folder: ModelFolder, variables: [String: String], kwargs: JSONValue?,
    template: TemplateFlags
  ) throws(Fault) {
    guard let vision = folder.config.vision else { return nil }
    var variables = variables
    if let kwargs {
      guard let object = kwargs.object else {
        throw Fault(
          .optionsDisagree, "--model_kwargs must be an object, found \(kwargs.kind)",
          at: .flag("model_kwargs"), fix: "write {\"fps_max_frames\": 12}")
      }
      for (key, value) in object.members {
        variables[key.uppercased()] = value.string ?? value.write()
      }
    }
    var settings = MediaSettings()
    settings.patch = vision.patchSize
    settings.merge = vision.mergeSize
    settings.temporalPatch = vision.temporalPatchSize
    try Self.readProcessor(folder.path + "/preprocessor_config.json", vision, into: &settings)
    lines = try settings.read(variables)
    guard settings.merge == vision.mergeSize else {
      throw Fault(
        .optionsDisagree, "SPATIAL_MERGE_SIZE is \(settings.merge)", at: .flag("model_kwargs"),
        expected: "\(vision.mergeSize), as in config.json", fix: "unset SPATIAL_MERGE_SIZE")
    }
    settings.maxPixels = template.maxPixels
    settings.boxScale = template.normBbox == TemplateFlags.BoxScale.none ? .none : .norm1000
    self.settings = settings
    self.vision = vision
  }

  /// Mean and deviation of the colours; sizes of patches must be the tower's.
  private static func readProcessor(
    _ path: String, _ vision: VisionConfig, into settings: inout MediaSettings
  ) throws(Fault) {
    guard FileManager.default.fileExists(atPath: path) else { return }
    let text = String(decoding: try AtomicFile.read(path), as: UTF8.self)
    let value: JSONValue
    do throws(JSONSyntaxError) { value = try JSONValue.parse(text) } catch {
      throw Fault(.badJSON, error.reason, at: .file(path, line: error.line, column: error.column))
    }
    func colours(_ key: String, _ given: [Double]) throws(Fault) -> [Double] {
      guard let list = value[key]?.array else { return given }
      let numbers = list.compactMap(\.double)
      guard numbers.count == 3, numbers.allSatisfy(\.isFinite) else {
        throw Fault(.badJSON, "\(key) must be three numbers", at: .file(path))
      }
      return numbers
    }
    settings.mean = try colours("image_mean", settings.mean)
    settings.deviation = try colours("image_std", settings.deviation)
    for (key, size) in [
      ("patch_size", vision.patchSize), ("temporal_patch_size", vision.temporalPatchSize),
      ("merge_size", vision.mergeSize),
    ] {
      guard let given = value[key]?.int, given != size else { continue }
      throw Fault(
        .badJSON, "\(key) is \(given), but the tower has \(size)", at: .file(path),
        fix: "use the files of one model")
    }
  }

  /// Pixels and grids of a batch.
  /// - Throws: `MODEL-104` when they do not fit, `MEM-001`.
  func vision(of batch: PackedBatch, on engine: Engine) throws(Fault) -> RowVision {
    guard !batch.media.isEmpty else { return RowVision(config: vision, pictures: nil) }
    let grids = batch.media.map { PatchGrid($0.grid) }
    let pixels = try Tensor(
      [grids.reduce(0) { $0 + $1.patches }, vision.patchValues], .float32, on: engine)
    if !engine.isPlanning {
      try settings.write(batch.media, to: pixels.pointer(as: Float.self))
    }
    return RowVision(
      config: vision, pictures: try VisionInput(pixels: pixels, grids: grids))
  }
}
