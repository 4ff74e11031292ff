import DataPipeline
import Model
import Parallel
import Support
import Tensor

/// Pictures and clips of stored rows.
struct GoldenVision {
  let golden: GoldenTensors
  let config: VisionConfig
  let engine: Engine

  /// Stored apart by kind: grids and the patches of all of them.
  private struct Kind {
    let token: Int32
    var grids: [PatchGrid]
    let pixels: [Float]
    var nextGrid = 0
    var nextValue = 0
  }

  private func kind(_ token: Int32, _ grids: String, _ pixels: String) throws(Fault) -> Kind {
    guard golden.has(grids) else { return Kind(token: token, grids: [], pixels: []) }
    let sizes = try golden.integers(grids)
    return Kind(
      token: token,
      grids: stride(from: 0, to: sizes.count, by: 3).map {
        PatchGrid(t: sizes[$0], h: sizes[$0 + 1], w: sizes[$0 + 2])
      }, pixels: try golden.floats(pixels))
  }

  private func kinds(_ prefix: String) throws(Fault) -> [Kind] {
    [
      try kind(config.imageToken, prefix + "image_grid_thw", prefix + "pixel_values"),
      try kind(config.videoToken, prefix + "video_grid_thw", prefix + "pixel_values_videos"),
    ]
  }

  /// All pictures, or all clips, of a row: what the reference sends through the tower in one call.
  func alone(video: Bool) throws(Fault) -> VisionInput? {
    let kind = try kinds("")[video ? 1 : 0]
    guard !kind.grids.isEmpty else { return nil }
    return try input(kind.pixels, kind.grids)
  }

  /// Pictures and clips of a row in order of appearance.
  func input(_ ids: [Int32], prefix: String) throws(Fault) -> VisionInput? {
    var kinds = try kinds(prefix)
    var grids: [PatchGrid] = []
    var pixels: [Float] = []
    var t = 0
    var openSlices: [Int32: Int] = [:]
    while t < ids.count {
      guard let k = kinds.firstIndex(where: { $0.token == ids[t] }) else {
        t += 1
        continue
      }
      let token = kinds[k].token
      if openSlices[token, default: 0] == 0, kinds[k].nextGrid < kinds[k].grids.count {
        let grid = kinds[k].grids[kinds[k].nextGrid]
        let values = grid.patches * config.patchValues
        grids.append(grid)
        pixels += kinds[k].pixels[kinds[k].nextValue..<kinds[k].nextValue + values]
        kinds[k].nextGrid += 1
        kinds[k].nextValue += values
        openSlices[token] = grid.t
      }
      openSlices[token, default: 0] -= 1
      let grid = kinds[k].grids[max(0, kinds[k].nextGrid - 1)]
      t += max(1, grid.slicePatches / config.mergedPatches)
    }
    return grids.isEmpty ? nil : try input(pixels, grids)
  }

  private func input(_ pixels: [Float], _ grids: [PatchGrid]) throws(Fault) -> VisionInput {
    let width = config.patchValues
    return try VisionInput(
      pixels: try Tensor(pixels, [pixels.count / width, width], on: engine), grids: grids)
  }
}

/// `packed` of a model with a tower: what the tower makes of the pictures, and of the clips.
struct VisionParity {
  let rig: ParityRig
  let golden: GoldenTensors

  /// Adds what was computed under the golden's names.
  func run(_ row: ModelRow, into output: inout ParityOutput) throws(Fault) {
    guard let vision = rig.model.vision else { return }
    let stored = GoldenVision(golden: golden, config: vision.config, engine: rig.engine)
    for (name, isVideo) in [("vit.image", false), ("vit.video", true)] {
      guard let input = try stored.alone(video: isVideo) else { continue }
      let probe = Probe()
      // Each rank runs all of it, to have all values.
      var setting = rig.setting(row, seeds: LossSeeds(), probe: probe, training: false)
      setting.groups = ModelGroups(tp: SelfWorld(), ep: SelfWorld(), etp: SelfWorld())
      let context = Context(tape: Tape(recording: false), setting: setting)
      _ = try vision(input, probing: name, in: context)
      for (key, value) in probe.values { output[key] = value.tensor.values }
      try geometry(input, vision.config, name, into: &output)
    }
    if let axes = row.input.axes {
      output["mrope_position_ids"] = [axes.time, axes.height, axes.width].flatMap {
        $0.prefix(row.realTokens).map { Float($0) }
      }
    }
  }

  private func geometry(
    _ input: VisionInput, _ config: VisionConfig, _ name: String,
    into output: inout ParityOutput
  ) throws(Fault) {
    let rows = try TowerRows(input, config, on: rig.engine)
    output["\(name).interp_index"] = rows.positions.rows.map { Float($0) }
    output["\(name).interp_weight"] = rows.positions.weights
    output["\(name).patch_hw"] = rows.places.flatMap { [Float($0.row), Float($0.column)] }
    let starts = rows.slices.starts
    output["\(name).cu_seqlens"] = (0..<starts.count).map {
      Float(starts.pointer(as: Int32.self)[$0])
    }
    let half = config.headSize / 2
    for (part, table) in [("rope_cos", rows.angles.cos), ("rope_sin", rows.angles.sin)] {
      let values = table.values
      output["\(name).\(part)"] = (0..<table.rows).flatMap { p in
        let angles = values[p * half..<(p + 1) * half]
        return angles + angles
      }
    }
  }
}
