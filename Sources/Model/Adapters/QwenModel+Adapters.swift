import Support
import Tensor

extension QwenModel {
  public var adapters: AdapterPlan? { text.adapters }

  /// Halves of adapters, in the order of the model.
  public var adapterParameters: [Parameter] { parameters.filter(\.role.isAdapter) }

  /// What an adapter's checkpoint holds: the halves, and the weights trained whole beside them.
  public var tunedParameters: [Parameter] {
    parameters.filter {
      $0.role.isAdapter || adapters?.savedWeights.contains($0.name) ?? false
    }
  }

  /// A uniform in ±1/√i, B zero (of a table A zero, B normal): the adapted model begins as the base.
  /// An element depends on its place in the whole matrix only, so every layout begins alike.
  /// - Source: He et al. 2015 with a slope of √5, as adapters are usually begun.
  public func initializeAdapters(seed: Int) throws(Fault) {
    for parameter in adapterParameters {
      if parameter.name.contains(".lora_B.") || parameter.name.contains(".lora_embedding_A.") {
        parameter.tensor.clear()
        continue
      }
      if parameter.name.contains(".lora_embedding_B.") {
        try parameter.fill(seed: seed) { random, place in random.normal(place) }
        continue
      }
      let bound = 1 / Double(parameter.slices.globalShape.dropFirst().reduce(1, *)).squareRoot()
      try parameter.fill(seed: seed) { random, place in
        (2 * random.uniform(place) - 1) * bound
      }
    }
  }

  /// Fills adapters and the weights trained whole from an adapter's source.
  /// - Throws: `MODEL-103`; what the source throws.
  public func loadAdapters(from source: some WeightSource) throws(Fault) {
    for parameter in tunedParameters { try parameter.load(from: source) }
  }
}

extension AdapterPlan {
  /// Only adapters and the weights trained whole beside them are trained.
  func freeze(_ parameters: [Parameter]) {
    for parameter in parameters {
      parameter.isTrainable = parameter.role.isAdapter || savedWeights.contains(parameter.name)
    }
  }
}
