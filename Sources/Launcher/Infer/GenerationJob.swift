import Foundation
import Model
import Support
import Tensor

/// One answer to be generated, in tokens. The same on every rank of a model.
struct GenerationJob: Sendable, Codable, Equatable {
  var id: Int
  var prompt: [Int32]
  var maxNewTokens: Int
  var rule = SamplingRule()
  /// Ids that end the answer and are no part of it.
  var stopIDs: Set<Int32> = []
  /// Texts that end the answer and stay in it.
  var stopWords: [String] = []
  /// Ids that are never chosen.
  var suppressed: [Int32] = []
  /// Give the log probability of each token.
  var wantsProbabilities = false
  /// Give those of this many likeliest tokens too.
  var likeliest = 0
  /// Pictures and clips that placeholders of the prompt stand for.
  var media: GenerationMedia?
}

/// Pictures and clips of a prompt, in order of appearance, and where its tokens lie on three axes.
struct GenerationMedia: Sendable, Codable, Equatable {
  /// Of each: temporal slices, rows and columns of patches.
  let grids: [[Int]]
  /// `[p, values of a patch]` fp32.
  let pixels: Data
  let time: [Int32]
  let height: [Int32]
  let width: [Int32]
  /// What is added to the place of a token behind the prompt.
  let delta: Int32

  init(grids: [PatchGrid], pixels: [Float], axes: AxisPositions) {
    self.grids = grids.map { [$0.t, $0.h, $0.w] }
    self.pixels = pixels.withUnsafeBytes { Data($0) }
    (time, height, width) = (axes.time, axes.height, axes.width)
    let last = max(axes.time.max() ?? -1, axes.height.max() ?? -1, axes.width.max() ?? -1)
    delta = last + 1 - Int32(axes.count)
  }

  /// Places of the prompt's tokens.
  var axes: AxisPositions {
    var axes = AxisPositions(text: time)
    axes.height = height
    axes.width = width
    return axes
  }

  var patchGrids: [PatchGrid] { grids.map { PatchGrid(t: $0[0], h: $0[1], w: $0[2]) } }
}

extension VisionInput {
  /// The pictures of several prompts, one after another; nil without any.
  init?(_ media: [GenerationMedia], on engine: Engine) throws(Fault) {
    let grids = media.flatMap(\.patchGrids)
    let patches = grids.reduce(0) { $0 + $1.patches }
    guard patches > 0 else { return nil }
    let bytes = media.reduce(0) { $0 + $1.pixels.count }
    let pixels = try Tensor([patches, bytes / 4 / patches], .float32, on: engine)
    var at = 0
    for item in media {
      item.pixels.withUnsafeBytes { source in
        UnsafeMutableRawBufferPointer(rebasing: pixels.bytes[at..<at + source.count])
          .copyMemory(from: source)
      }
      at += item.pixels.count
    }
    try self.init(pixels: pixels, grids: grids)
  }
}

/// Why an answer ended.
public enum FinishReason: String, Sendable, Codable {
  case stop, length
  /// Ended by the user; not a finish of the published interfaces.
  case cancelled
}

/// A generated token.
struct GeneratedToken: Sendable {
  let token: Int32
  let probability: TokenProbability?
  let likeliest: [TokenProbability]
}

/// What a step did for a job: a token, the end, or both.
struct GenerationEvent: Sendable {
  let job: Int
  var token: GeneratedToken?
  var finish: FinishReason?
}
