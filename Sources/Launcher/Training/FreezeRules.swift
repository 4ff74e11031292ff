import Foundation
import Model
import Support
import Tensor

/// Parts of a model that flags treat apart.
enum ModelPart {
  case text
  /// The vision tower without its mergers.
  case vision
  /// The mergers between tower and text model.
  case aligner

  /// - Parameter name: of one of our parameters.
  init(_ name: String) {
    guard name.hasPrefix(QwenVision.prefix) else {
      self = .text
      return
    }
    let rest = name.dropFirst(QwenVision.prefix.count)
    self =
      rest.hasPrefix("merger.") || rest.hasPrefix("deepstack_merger_list.") ? .aligner : .vision
  }
}

extension TunerFlags {
  /// Whether the part of the model that a weight belongs to is frozen: the aligner is part of the tower
  /// and still decided for itself. `all-linear` puts no adapters there.
  func isFrozenPart(_ weight: String) -> Bool {
    switch ModelPart(weight) {
    case .text: self.freezeLLM
    case .vision: self.freezeVision
    case .aligner: self.freezeAligner
    }
  }
}

/// Which weights are trained: all, minus what is frozen, plus what is made trainable again.
struct FreezeRules {
  let flags: TunerFlags

  init(_ flags: TunerFlags) { self.flags = flags }

  /// - Returns: warnings about patterns that match nothing.
  func apply(to parameters: [Parameter]) -> [String] {
    var warnings: [String] = []
    for parameter in parameters { parameter.isTrainable = !flags.isFrozenPart(parameter.name) }
    freezeRatio(parameters)
    for prefix in flags.freezeParameters {
      set(false, parameters, "freeze_parameters \(prefix)", &warnings) { $0.hasPrefix(prefix) }
    }
    if let pattern = flags.freezeParametersRegex {
      apply(pattern, false, parameters, "freeze_parameters_regex", &warnings)
    }
    for prefix in flags.trainableParameters {
      set(true, parameters, "trainable_parameters \(prefix)", &warnings) { $0.hasPrefix(prefix) }
    }
    if let pattern = flags.trainableParametersRegex {
      apply(pattern, true, parameters, "trainable_parameters_regex", &warnings)
    }
    return warnings
  }

  /// The first tensors whose elements together stay within the ratio.
  private func freezeRatio(_ parameters: [Parameter]) {
    guard flags.freezeParametersRatio > 0 else { return }
    let total = parameters.reduce(0) { $0 + $1.slices.globalShape.reduce(1, *) }
    var sum = 0
    for parameter in parameters {
      sum += parameter.slices.globalShape.reduce(1, *)
      if Double(sum) > flags.freezeParametersRatio * Double(total) { return }
      parameter.isTrainable = false
    }
  }

  private func apply(
    _ pattern: String, _ value: Bool, _ parameters: [Parameter], _ flag: String,
    _ warnings: inout [String]
  ) {
    guard let regex = try? NSRegularExpression(pattern: pattern) else {
      warnings.append("--\(flag): \"\(pattern)\" is no regular expression and is ignored")
      return
    }
    set(value, parameters, "\(flag) \(pattern)", &warnings) { name in
      regex.firstMatch(in: name, range: NSRange(name.startIndex..., in: name)) != nil
    }
  }

  private func set(
    _ value: Bool, _ parameters: [Parameter], _ what: String, _ warnings: inout [String],
    where matches: (String) -> Bool
  ) {
    let found = parameters.filter { matches($0.name) }
    for parameter in found { parameter.isTrainable = value }
    if found.isEmpty { warnings.append("--\(what) matches no parameter") }
  }
}
