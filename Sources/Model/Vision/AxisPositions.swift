import Support

/// Positions of the tokens of a row on the three axes of the rotary embedding.
///
/// Text counts on all three alike. A picture, or one temporal slice of a clip, of `h × w` tokens
/// that begins at p lies at time p, heights p… and widths p…; what follows it goes on at
/// p + max(h, w). Every document begins at 0.
/// - Source: model.md 9; `goldens/data/rope.json` of the published processors.
public struct AxisPositions: Sendable, Equatable {
  public var time: [Int32]
  public var height: [Int32]
  public var width: [Int32]

  /// Text alone: the three axes are one.
  public init(text: [Int32]) {
    time = text
    height = text
    width = text
  }

  public var count: Int { time.count }

  /// Positions by the tokens' order and the grids of what their placeholders stand for.
  /// - Parameters:
  ///   - ids: `[t]` the row.
  ///   - grids: pictures and clips in order of appearance.
  ///   - starts: where documents begin, and the end of the row.
  /// - Throws: `MODEL-104` when placeholders and grids do not fit.
  public init(
    ids: [Int32], grids: [PatchGrid], documentStarts starts: [Int32], config: VisionConfig
  ) throws(Fault) {
    try self.init(
      ids: ids, grids: grids, documentStarts: starts,
      placeholders: [config.imageToken, config.videoToken], mergeSize: config.mergeSize)
  }

  /// The same for known placeholders, without a model.
  /// - Throws: `MODEL-104` when placeholders and grids do not fit.
  public init(
    ids: [Int32], grids: [PatchGrid], documentStarts starts: [Int32], placeholders: Set<Int32>,
    mergeSize: Int
  ) throws(Fault) {
    self.init(text: [Int32](repeating: 0, count: ids.count))
    var slices = SliceQueue(grids, merge: mergeSize)
    for (start, end) in zip(starts, starts.dropFirst()) {
      var t = Int(start)
      var next: Int32 = 0
      while t < Int(end) {
        guard placeholders.contains(ids[t]) else {
          (time[t], height[t], width[t]) = (next, next, next)
          next += 1
          t += 1
          continue
        }
        let slice = try slices.take(at: t)
        let places = t..<t + slice.tokens
        guard places.upperBound <= Int(end), ids[places].allSatisfy({ $0 == ids[t] }) else {
          throw SliceQueue.mismatch(
            "the placeholders at token \(t) are not as many as the picture has",
            expected: "\(slice.tokens) of one kind in one document")
        }
        fill(places, slice, from: next)
        next += Int32(max(slice.h, slice.w))
        t = places.upperBound
      }
    }
    try slices.finish()
  }

  private mutating func fill(_ places: Range<Int>, _ slice: SliceQueue.Slice, from p: Int32) {
    for (i, place) in places.enumerated() {
      time[place] = p
      height[place] = p + Int32(i / slice.w)
      width[place] = p + Int32(i % slice.w)
    }
  }
}

/// The temporal slices of pictures and clips in order, in visual tokens.
private struct SliceQueue {
  struct Slice {
    let h: Int
    let w: Int
    var tokens: Int { h * w }
  }

  private let slices: [Slice]
  private var next = 0

  init(_ grids: [PatchGrid], merge: Int) {
    slices = grids.flatMap { grid in
      [Slice](repeating: Slice(h: grid.h / merge, w: grid.w / merge), count: grid.t)
    }
  }

  mutating func take(at token: Int) throws(Fault) -> Slice {
    guard next < slices.count, slices[next].tokens > 0 else {
      throw Self.mismatch(
        "the placeholder at token \(token) stands for no picture",
        expected: "\(slices.count) pictures and slices of clips")
    }
    defer { next += 1 }
    return slices[next]
  }

  func finish() throws(Fault) {
    guard next == slices.count else {
      throw Self.mismatch(
        "the row has more pictures than placeholders", expected: "\(next) slices",
        found: "\(slices.count)")
    }
  }

  static func mismatch(_ what: String, expected: String, found: String? = nil) -> Fault {
    Fault(.visionMismatch, what, expected: expected, found: found)
  }
}
