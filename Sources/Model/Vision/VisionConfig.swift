import Support

/// `vision_config` of a Qwen3-VL folder with the ids of the placeholders, decoded and checked.
public struct VisionConfig: Sendable, Equatable {
  public var depth: Int
  public var hiddenSize: Int
  public var intermediateSize: Int
  public var headCount: Int
  public var channels: Int
  public var patchSize: Int
  public var temporalPatchSize: Int
  /// Side of the block of patches that becomes one visual token.
  public var mergeSize: Int
  /// Hidden size of the text model.
  public var outputSize: Int
  /// Rows of the table of learned positions: a square.
  public var positionCount: Int
  /// Blocks whose outputs are added to the stream of the first decoder layers.
  public var deepstackBlocks: [Int]
  public var initializerRange: Double
  public var imageToken: Int32
  public var videoToken: Int32

  public var headSize: Int { hiddenSize / headCount }
  /// Side of the table of learned positions.
  public var positionSide: Int {
    var side = Int(Double(positionCount).squareRoot())
    while side * side < positionCount { side += 1 }
    return side
  }
  /// Patches of one visual token.
  public var mergedPatches: Int { mergeSize * mergeSize }
  /// Values of one patch.
  public var patchValues: Int { channels * temporalPatchSize * patchSize * patchSize }

  /// Visual tokens of a picture or clip.
  public func tokens(_ grid: PatchGrid) -> Int { grid.patches / mergedPatches }

  public func isPlaceholder(_ id: Int32) -> Bool { id == imageToken || id == videoToken }
}

extension VisionConfig {
  /// - Parameters:
  ///   - root: the whole `config.json`.
  ///   - path: of that file, for messages.
  /// - Throws: `MODEL-101`, `MODEL-102`.
  init(root: JSONValue, path: String) throws(Fault) {
    guard let object = root["vision_config"], !object.isNull else {
      throw Fault(.badModelConfig, "vision_config is missing", at: .file(path))
    }
    let keys = ConfigKeys(root: object, path: path, section: "vision_config")
    depth = try keys.int("depth", default: 27)
    hiddenSize = try keys.int("hidden_size", default: 1152)
    intermediateSize = try keys.int("intermediate_size", default: 4304)
    headCount = try keys.int("num_heads", default: 16)
    channels = try keys.int("in_channels", default: 3)
    patchSize = try keys.int("patch_size", default: 16)
    temporalPatchSize = try keys.int("temporal_patch_size", default: 2)
    mergeSize = try keys.int("spatial_merge_size", default: 2)
    outputSize = try keys.int("out_hidden_size", default: 3584)
    positionCount = try keys.int("num_position_embeddings", default: 2304)
    deepstackBlocks = try keys.ints("deepstack_visual_indexes", default: [8, 16, 24])
    initializerRange = try keys.double("initializer_range", default: 0.02)
    let top = ConfigKeys(root: root, path: path)
    imageToken = try top.id("image_token_id", default: 151655)
    videoToken = try top.id("video_token_id", default: 151656)
    if let act = object["hidden_act"]?.string, act != "gelu_pytorch_tanh" {
      throw Fault(
        .unknownModel, "vision_config.hidden_act \"\(act)\" is not implemented", at: .file(path),
        expected: "gelu_pytorch_tanh")
    }
    try check(path)
  }

  private func check(_ path: String) throws(Fault) {
    func require(_ condition: Bool, _ text: String) throws(Fault) {
      if !condition { throw Fault(.badModelConfig, "vision_config: " + text, at: .file(path)) }
    }
    try require(
      min(depth, hiddenSize, intermediateSize, headCount, channels, patchSize) > 0
        && min(temporalPatchSize, mergeSize, outputSize, positionCount) > 0,
      "sizes must be positive")
    try require(
      hiddenSize % headCount == 0 && headSize % 4 == 0 && headSize <= 256,
      "hidden_size \(hiddenSize) over num_heads \(headCount) must give a multiple of 4 up to 256")
    try require(
      positionSide * positionSide == positionCount,
      "num_position_embeddings \(positionCount) is no square")
    try require(
      deepstackBlocks.allSatisfy { $0 >= 0 && $0 < depth }
        && Set(deepstackBlocks).count == deepstackBlocks.count,
      "deepstack_visual_indexes \(deepstackBlocks) must name different blocks below \(depth)")
    try require(imageToken != videoToken, "image_token_id and video_token_id are equal")
  }
}
