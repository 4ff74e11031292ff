import Foundation
import Support

/// Which frames of a clip are taken, and when they are shown (data.md 11).
struct FrameSampling: Sendable, Equatable {
  /// Places of the frames, ascending.
  let indices: [Int]
  /// Frames per second of the clip.
  let rate: Double

  init(indices: [Int], rate: Double) {
    self.indices = indices
    self.rate = rate
  }

  /// Spreads frames evenly over the clip.
  /// - Throws: `DATA-402` for a clip that is too short.
  init(
    frames: Int, rate: Double, settings: MediaSettings, _ name: MediumName
  ) throws(Fault) {
    let factor = settings.frameFactor
    guard frames >= factor else {
      throw name.bad(
        "needs at least \(factor) frames, has \(frames)", fix: "give a longer clip, or a picture")
    }
    guard rate > 0, rate.isFinite else {
      throw name.bad("its frames per second are not known", fix: "convert the clip")
    }
    let low = (settings.minFrames + factor - 1) / factor * factor
    let high = min(settings.maxFrames, frames) / factor * factor
    let wanted = Double(frames) / rate * settings.fps
    let taken = min(min(max(wanted, Double(low)), Double(high)), Double(frames))
    let count = Int(taken / Double(factor)) * factor
    guard count >= factor else {
      throw name.bad(
        "\(count) frames would be taken, at least \(factor) are needed",
        fix: "raise FPS_MAX_FRAMES")
    }
    indices = Self.spread(count, over: frames)
    self.rate = rate
  }

  /// `count` places from the first to the last of `frames`, in single precision: the second half
  /// is counted from the end.
  static func spread(_ count: Int, over frames: Int) -> [Int] {
    guard count > 1 else { return [0] }
    let last = Float(frames - 1)
    let step = last / Float(count - 1)
    return (0..<count).map { i in
      let place = i < count / 2 ? step * Float(i) : last - step * Float(count - 1 - i)
      return Int(place.rounded(.toNearestOrEven))
    }
  }

  /// Every frame of a list, the last one twice if their number is odd; two frames a second.
  init(list count: Int, factor: Int) {
    let whole = (count + factor - 1) / factor * factor
    indices = Array(0..<whole)
    rate = 2
  }

  /// The text before each group of `temporal` frames: the mean time of its first and last frame.
  func times(temporal: Int) -> [String] {
    stride(from: 0, to: indices.count, by: temporal).map { start in
      let end = min(start + temporal, indices.count) - 1
      let seconds = (Double(indices[start]) / rate + Double(indices[end]) / rate) / 2
      return String(format: "<%.1f seconds>", seconds)
    }
  }
}
