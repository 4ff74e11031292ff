import Support

/// Width and height in pixels.
public struct PictureSize: Sendable, Hashable {
  public var height: Int
  public var width: Int
  public init(height: Int, width: Int) {
    self.height = height
    self.width = width
  }
  var pixels: Int { height * width }
}

extension MediaSettings {
  /// The size nearest to `size` whose sides are multiples of `factor` and whose pixels lie between
  /// `least` and `most`. Past an enlargement `most` is not checked again, as in the reference.
  /// - Throws: `DATA-402` for a strip that is too thin.
  func smartResize(
    _ size: PictureSize, least: Int, most: Double, _ name: MediumName
  ) throws(Fault) -> PictureSize {
    let f = Double(factor)
    let h = Double(size.height)
    let w = Double(size.width)
    let ratio = max(h, w) / min(h, w)
    guard ratio <= Double(maxRatio) else {
      let shown = ratio == ratio.rounded() ? "\(Int(ratio))" : "\(ratio)"
      throw name.bad(
        "aspect ratio \(shown) is over \(maxRatio) (\(size.width)×\(size.height))",
        fix: "crop the picture")
    }
    func near(_ side: Double) -> Int {
      max(factor, Int((side / f).rounded(.toNearestOrEven)) * factor)
    }
    var result = PictureSize(height: near(h), width: near(w))
    if Double(result.pixels) > most {
      let shrink = (h * w / most).squareRoot()
      result.height = Int((h / shrink / f).rounded(.down)) * factor
      result.width = Int((w / shrink / f).rounded(.down)) * factor
    } else if result.pixels < least {
      let grow = (Double(least) / (h * w)).squareRoot()
      result.height = Int((h * grow / f).rounded(.up)) * factor
      result.width = Int((w * grow / f).rounded(.up)) * factor
    }
    guard result.height > 0, result.width > 0 else {
      throw name.bad(
        "height and width must be > 0: \(size.width)×\(size.height) is too thin for its limit",
        fix: "raise IMAGE_MAX_TOKEN_NUM or VIDEO_MAX_TOKEN_NUM, or crop the picture")
    }
    return result
  }

  /// The size of a picture for the tower.
  func pictureSize(_ size: PictureSize, _ name: MediumName) throws(Fault) -> PictureSize {
    try smartResize(
      size, least: imageTokens.lowerBound * tokenPixels,
      most: Double(imageTokens.upperBound * tokenPixels), name)
  }

  /// Most pixels of each of `frames` frames.
  func clipPixels(frames: Int) -> Double {
    let total = Double(modelSequence * tokenPixels) * 0.9
    let cap = min(
      Double(videoMaxTokens * tokenPixels), total / Double(frames) * Double(frameFactor))
    let least = Double(videoMinTokens * tokenPixels)
    return max(cap, (least * 1.05).rounded(.down))
  }

  /// The size of the frames of a clip for the tower.
  func clipSize(
    _ size: PictureSize, frames: Int, _ name: MediumName
  ) throws(Fault) -> PictureSize {
    try smartResize(
      size, least: videoMinTokens * tokenPixels, most: clipPixels(frames: frames), name)
  }

  /// The size that `--max_pixels` scales a picture to before the rest; nil when it is small enough.
  func cappedSize(_ size: PictureSize) -> PictureSize? {
    guard let maxPixels, size.pixels > maxPixels else { return nil }
    let ratio = Double(size.width) / Double(size.height)
    let height = (Double(maxPixels) / ratio).squareRoot()
    return PictureSize(height: max(Int(height), 1), width: max(Int(height * ratio), 1))
  }
}
