import Support
import Tensor

/// Size of a picture or a clip in patches: `t` temporal slices (1 for a picture) of `h × w` patches.
public struct PatchGrid: Sendable, Hashable {
  public let t: Int
  public let h: Int
  public let w: Int
  public init(t: Int, h: Int, w: Int) {
    self.t = t
    self.h = h
    self.w = w
  }

  /// Patches of one temporal slice: the reach of attention in the tower.
  public var slicePatches: Int { h * w }
  public var patches: Int { t * h * w }
}

/// The pictures and clips of one packed row, images and videos alike in order of appearance.
///
/// A patch is one row of pixels: channel, frame, y, x. The patches of a slice stand in merge order:
/// blocks of `merge × merge` patches row by row, and row by row inside a block, so that the patches
/// of one visual token are neighbours.
/// - Source: model.md 8; the processors of the published models give this order.
public struct VisionInput: Sendable {
  /// `[p, 3 · temporal patch · patch · patch]` fp32, normalised.
  public let pixels: Tensor
  /// One per picture or clip; their patches add up to `p`.
  public let grids: [PatchGrid]

  /// - Throws: `MODEL-104` when the rows of `pixels` are not those of `grids`.
  public init(pixels: Tensor, grids: [PatchGrid]) throws(Fault) {
    let patches = grids.reduce(0) { $0 + $1.patches }
    guard pixels.rows == patches, pixels.dtype == .float32, pixels.shape.count == 2 else {
      throw Fault(
        .visionMismatch, "the pixels of a row are not those of its grids",
        expected: "[\(patches), …] F32", found: "\(pixels.shape) \(pixels.dtype.rawValue)")
    }
    self.pixels = pixels
    self.grids = grids
  }
}

extension FaultCode {
  public static let visionMismatch = FaultCode(
    "MODEL-104", .badData,
    "the placeholders of a row, its pictures and the tower do not fit together"
  )
}
