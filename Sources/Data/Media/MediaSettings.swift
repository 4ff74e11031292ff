import Support

/// How pictures and clips are sized, sampled and written into the text (data.md 10 to 12).
public struct MediaSettings: Sendable, Equatable {
  /// How boxes and references are written (`QWENVL_BBOX_FORMAT`).
  public enum BoxFormat: String, Sendable { case legacy, new }
  /// What box coordinates are scaled to (`--norm_bbox`).
  public enum BoxScale: String, Sendable {
    /// Thousandths of the picture as it is stored.
    case norm1000
    /// Pixels of the picture as the tower sees it.
    case none
  }

  /// The side of a patch in pixels, of the vision tower's `config.json`.
  public var patch = 16
  /// Patches of a merged token along each side (`SPATIAL_MERGE_SIZE`).
  public var merge = 2
  /// Frames of a patch.
  public var temporalPatch = 2
  /// Mean and deviation of each colour, as parts of 255.
  public var mean = [0.5, 0.5, 0.5]
  public var deviation = [0.5, 0.5, 0.5]

  /// Merged tokens of a picture, at least and at most.
  public var imageTokens = 4...16_384
  /// Merged tokens of a frame pair; the larger bound gives way to 1.05 times the smaller.
  public var videoMinTokens = 128
  public var videoMaxTokens = 768
  /// Frames per second that are taken from a clip.
  public var fps = 2.0
  public var minFrames = 4
  public var maxFrames = 768
  public var frameFactor = 2
  public var maxRatio = 200
  /// Tokens that 9/10 of a model's sequence has for a whole clip.
  public var modelSequence = 128_000
  /// `--max_pixels`: larger pictures are scaled down before the rest.
  public var maxPixels: Int?

  public var boxFormat = BoxFormat.legacy
  public var boxScale = BoxScale.norm1000
  /// What relative paths are relative to; nil = the working folder.
  public var baseFolder: String?
  /// Second place to look for pictures with a relative path (`ROOT_IMAGE_DIR`).
  public var rootFolder: String?
  /// Seconds for one download (`TIMEOUT`).
  public var timeout = 300.0
  public var limits = MediaLimits()

  public init() {}

  /// Pixels that both sides of a resized picture are multiples of.
  var factor: Int { patch * merge }
  /// Pixels of a merged token.
  var tokenPixels: Int { factor * factor }
}

/// What untrusted media may claim before anything is decoded.
public struct MediaLimits: Sendable, Equatable {
  /// Bytes of a picture, and of a clip that is not a local file.
  public var pictureBytes = 256 << 20
  public var clipBytes = 1 << 30
  /// Pixels of a picture: Pillow's own limit.
  public var picturePixels = 178_956_970
  /// Pixels of a frame (8K has 33 million), frames of a clip (4.6 hours at 30 per second), and the
  /// product of both.
  public var framePixels = 1 << 25
  public var frames = 500_000
  public var clipPixels = 1 << 41
  public init() {}
}

extension MediaSettings {
  /// Variables that are read, each with what it sets.
  static let integers: [(name: String, least: Int, field: WritableKeyPath<Self, Int> & Sendable)] =
    [
      ("VIDEO_MIN_TOKEN_NUM", 1, \.videoMinTokens), ("VIDEO_MAX_TOKEN_NUM", 1, \.videoMaxTokens),
      ("FPS_MIN_FRAMES", 1, \.minFrames), ("FPS_MAX_FRAMES", 1, \.maxFrames),
      ("FRAME_FACTOR", 1, \.frameFactor), ("SPATIAL_MERGE_SIZE", 1, \.merge),
      ("MAX_RATIO", 1, \.maxRatio), ("MODEL_SEQ_LEN", 1, \.modelSequence),
    ]

  /// Takes over the variables of the environment; `--model_kwargs` are given with their names in
  /// capitals.
  /// - Returns: one line for each variable that is set, for the log.
  /// - Throws: `DATA-404` for a value that cannot be used.
  public mutating func read(_ variables: [String: String]) throws(Fault) -> [String] {
    var used: [String] = []
    func text(_ name: String) -> String? {
      guard let text = variables[name], !text.isEmpty else { return nil }
      used.append("Using environment variable \(name): \(text)")
      return text
    }
    func integer(_ name: String, least: Int) throws(Fault) -> Int? {
      guard let text = text(name) else { return nil }
      guard let value = Int(text), value >= least, value <= 1 << 40 else {
        throw Self.bad(name, text, expected: "a whole number of at least \(least)")
      }
      return value
    }
    func number(_ name: String) throws(Fault) -> Double? {
      guard let text = text(name) else { return nil }
      guard let value = Double(text), value > 0, value.isFinite else {
        throw Self.bad(name, text, expected: "a number above 0")
      }
      return value
    }
    for item in Self.integers {
      if let value = try integer(item.name, least: item.least) { self[keyPath: item.field] = value }
    }
    let least = try integer("IMAGE_MIN_TOKEN_NUM", least: 1) ?? imageTokens.lowerBound
    let most = try integer("IMAGE_MAX_TOKEN_NUM", least: 1) ?? imageTokens.upperBound
    guard least <= most else {
      throw Self.bad("IMAGE_MIN_TOKEN_NUM", "\(least)", expected: "at most \(most)")
    }
    imageTokens = least...most
    if let value = try number("FPS") { fps = value }
    if let value = try number("TIMEOUT") { timeout = value }
    if let folder = text("ROOT_IMAGE_DIR") { rootFolder = folder }
    if let word = text("QWENVL_BBOX_FORMAT") {
      guard let format = BoxFormat(rawValue: word) else {
        throw Self.bad("QWENVL_BBOX_FORMAT", word, expected: "legacy or new")
      }
      boxFormat = format
    }
    return used
  }

  private static func bad(_ name: String, _ text: String, expected: String) -> Fault {
    Fault(
      .badMediaSetting, "\(name) is \"\(text)\"", expected: expected, found: text,
      fix: "unset \(name), or set it so (--model_kwargs wins over the environment)")
  }

  /// Everything that changes tokens or pixels, as one text.
  public var fingerprint: String {
    [
      "media 1", "\(patch) \(merge) \(temporalPatch)", "\(mean) \(deviation)", "\(imageTokens)",
      "\(videoMinTokens) \(videoMaxTokens) \(fps) \(minFrames) \(maxFrames) \(frameFactor)",
      "\(maxRatio) \(modelSequence) \(maxPixels ?? -1)", "\(boxFormat) \(boxScale)",
      baseFolder ?? "", rootFolder ?? "", "\(limits)",
    ].joined(separator: "|")
  }
}
