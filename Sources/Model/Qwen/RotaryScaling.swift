import Foundation
import Support

/// How the frequencies of the rotary embedding are stretched to reach positions beyond those a model
/// was trained on.
/// - Source: "linear": Chen et al. 2023 (arXiv 2306.15595); "yarn": Peng et al. 2023 (arXiv 2309.00071)
///   with the choices of the published configurations (`factor`, `attention_factor`, `mscale`,
///   `beta_fast`, `beta_slow`, `truncate`).
public enum RotaryScaling: Sendable, Equatable {
  /// Every frequency is divided by `factor`.
  case linear(factor: Double)
  case yarn(Yarn)

  public struct Yarn: Sendable, Equatable {
    public var factor: Double
    /// What cosines and sines are multiplied with.
    public var attentionFactor: Double
    /// Turns over the original positions above which a frequency is kept, and below which it is
    /// divided by `factor`; between them it is blended.
    public var betaFast = 32.0
    public var betaSlow = 1.0
    /// Positions the model was trained on.
    public var originalPositions: Int
    /// The ends of the blended range are rounded outwards to whole frequencies.
    public var truncates = true
  }

  /// What cosines and sines are multiplied with.
  var amplitude: Double {
    switch self {
    case .linear: 1
    case .yarn(let yarn): yarn.attentionFactor
    }
  }

  /// - Parameter plain: θ^(−2j/d), one for each of the d/2 frequencies.
  func frequencies(_ plain: [Double], theta: Double) -> [Double] {
    switch self {
    case .linear(let factor): plain.map { $0 / factor }
    case .yarn(let yarn): yarn.frequencies(plain, theta: theta)
    }
  }

  /// 0.1 · m · ln(s) + 1: the growth of attention's temperature with the stretch s.
  static func temperature(_ stretch: Double, _ m: Double = 1) -> Double {
    stretch <= 1 ? 1 : 0.1 * m * log(stretch) + 1
  }
}

extension RotaryScaling.Yarn {
  func frequencies(_ plain: [Double], theta: Double) -> [Double] {
    let size = Double(2 * plain.count)
    /// The frequency, as a fraction of an index, that turns so often over the original positions.
    func place(turns: Double) -> Double {
      size * log(Double(originalPositions) / (turns * 2 * .pi)) / (2 * log(theta))
    }
    var (low, high) = (place(turns: betaFast), place(turns: betaSlow))
    if truncates { (low, high) = (low.rounded(.down), high.rounded(.up)) }
    (low, high) = (max(low, 0), min(high, size - 1))
    if low == high { high += 0.001 }
    return plain.enumerated().map { j, frequency in
      let stretched = min(max((Double(j) - low) / (high - low), 0), 1)
      return frequency * (1 - stretched) + frequency / factor * stretched
    }
  }
}

extension ConfigKeys {
  /// - Returns: nil for plain frequencies.
  /// - Throws: `MODEL-101` for impossible numbers, `MODEL-102` for a kind that is not computed.
  func ropeScaling(maxPositions: Int) throws(Fault) -> RotaryScaling? {
    guard let rope, let kind = rope["rope_type"]?.string ?? rope["type"]?.string else { return nil }
    let keys = ConfigKeys(root: rope, path: path, section: "rope_scaling")
    switch kind {
    // Older files of models with three axes call plain frequencies so.
    case "default", "mrope": return nil
    case "linear": return .linear(factor: try keys.factor(default: nil))
    case "yarn": return .yarn(try keys.yarn(maxPositions))
    default:
      throw Fault(
        .unknownModel, "rope_type \"\(kind)\" is not implemented", at: .file(path),
        expected: "default, linear or yarn")
    }
  }

  private func factor(default fallback: Double?) throws(Fault) -> Double {
    let given = root["factor"].flatMap { $0.isNull ? nil : $0.double } ?? fallback
    guard let factor = given, factor >= 1, factor.isFinite else {
      throw Fault(
        .badModelConfig, "rope_scaling.factor must be a number of at least 1", at: .file(path),
        found: root["factor"].map { $0.write(.python) } ?? "no factor")
    }
    return factor
  }

  private func yarn(_ maxPositions: Int) throws(Fault) -> RotaryScaling.Yarn {
    let original = try int(
      "original_max_position_embeddings", default: maxPositions, null: maxPositions)
    let factor = try factor(default: Double(maxPositions) / Double(max(1, original)))
    let (m, all) = (try double("mscale", default: 0), try double("mscale_all_dim", default: 0))
    let derived =
      m != 0 && all != 0
      ? RotaryScaling.temperature(factor, m) / RotaryScaling.temperature(factor, all)
      : RotaryScaling.temperature(factor)
    var yarn = RotaryScaling.Yarn(
      factor: factor, attentionFactor: try double("attention_factor", default: derived),
      originalPositions: original)
    yarn.betaFast = try double("beta_fast", default: 32)
    yarn.betaSlow = try double("beta_slow", default: 1)
    yarn.truncates = try bool("truncate", default: true)
    guard original > 0, yarn.attentionFactor > 0, yarn.betaSlow > 0,
      yarn.betaFast >= yarn.betaSlow
    else {
      throw Fault(
        .badModelConfig, "rope_scaling has impossible numbers for yarn", at: .file(path),
        expected: "original_max_position_embeddings, attention_factor and beta_slow above 0, "
          + "beta_fast not below beta_slow", found: root.write(.python))
    }
    return yarn
  }
}
