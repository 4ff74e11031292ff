import CMedia
import Support

/// Patches of a picture or clip along time, height and width.
public struct MediaGrid: Sendable, Hashable {
  public let t: Int
  public let h: Int
  public let w: Int
  public init(t: Int, h: Int, w: Int) {
    self.t = t
    self.h = h
    self.w = w
  }
  /// Patches before merging.
  public var patches: Int { t * h * w }
}

/// Bytes of patches, as the vision tower takes them but for the scale.
public struct MediaPatches: Sendable, Equatable {
  /// [t·h·w, 3, slots, patch, patch], in the order of merged tokens: frame pair, block row, block
  /// column, row and column inside the block.
  public let bytes: [UInt8]
  /// Different frames in a patch: 1 for a picture, which fills every slot of the tower's patches.
  public let slots: Int
}

/// A picture or clip of an encoded row: where its tokens stand is told by its place among the
/// row's media, in order of appearance.
public struct MediaItem: Sendable, Equatable {
  public let grid: MediaGrid
  let recipe: MediaRecipe
  /// Where the patches lie already; nil where they are made.
  var stored: StoredPatches?
  /// nil until they are needed.
  public internal(set) var patches: MediaPatches?

  init(grid: MediaGrid, recipe: MediaRecipe) {
    self.grid = grid
    self.recipe = recipe
  }

  public var isClip: Bool {
    if case .picture = recipe { return false }
    return true
  }

  /// The file or address, for the log.
  public var name: String {
    switch recipe {
    case .picture(let name, _, _), .clip(let name, _, _): return name.source.name
    case .list(let names, _, _): return "\(names.count) frames from \(names[0].source.name)"
    }
  }
}

/// How the patches of a medium are made, so that they need not be kept.
enum MediaRecipe: Sendable, Hashable {
  /// `capped` is the size by `--max_pixels` that comes first.
  case picture(MediumName, capped: PictureSize?, size: PictureSize)
  case clip(MediumName, indices: [Int], size: PictureSize)
  /// Pictures as frames: each to `each` as a picture, then all to `size` as frames.
  case list([MediumName], each: PictureSize, size: PictureSize)
}

extension MediaSettings {
  /// Patches [t·h·w, 3·temporal·patch²] of all media one after the other, as the tower takes them:
  /// (v − 255·mean) / (255·deviation).
  /// - Throws: `INT-001` if the patches of an item were not loaded.
  public func pixels(of items: [MediaItem]) throws(Fault) -> [Float] {
    var fault: Fault?
    let total = items.reduce(0) { $0 + $1.grid.patches } * patchValues
    let values = [Float](unsafeUninitializedCapacity: total) { buffer, count in
      do throws(Fault) {
        try write(items, to: buffer.baseAddress)
        count = total
      } catch { fault = error }
    }
    if let fault { throw fault }
    return values
  }

  /// Values of one patch.
  public var patchValues: Int { 3 * temporalPatch * patch * patch }

  /// The same into memory of the caller, which must have room for all.
  /// - Throws: `INT-001` if the patches of an item were not loaded.
  public func write(
    _ items: [MediaItem], to target: UnsafeMutablePointer<Float>?
  ) throws(Fault) {
    let middle = mean.map { Float($0 * 255) }
    let spread = deviation.map { Float($0 * 255) }
    var place = target
    for item in items {
      guard let patches = item.patches else {
        throw Fault(.internalError, "the patches of \(item.name) were not loaded")
      }
      cmedia_normalize(
        patches.bytes, Int64(item.grid.patches), Int64(patches.slots), Int64(temporalPatch),
        Int64(patch * patch), middle, spread, place)
      place = place.map { $0 + item.grid.patches * patchValues }
    }
  }
}
