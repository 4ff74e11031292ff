import Model
import Parallel
import Support
import Tensor

/// Puts together what the ranks hold of an adapter: its halves and the weights trained whole, or
/// anything of their shapes (gradients).
struct WholeAdapter {
  let model: QwenModel
  let map: NameMap
  let groups: RankGroups

  /// The whole of every tensor on every rank, fp32. Summed over ranks of which one holds each part.
  /// - Parameter local: this rank's part.
  /// - Communication: an all-reduce of the adapter's size.
  func values(
    _ local: (Parameter) throws(Fault) -> [Float]
  ) throws(Fault) -> [String: [Float]] {
    let own = Dictionary(
      uniqueKeysWithValues: model.tunedParameters.map { ($0.name, $0) })
    var result: [String: [Float]] = [:]
    for (name, shape) in model.adapters?.tensors(map) ?? [] {
      var whole = [Float](repeating: 0, count: shape.reduce(1, *))
      if let parameter = own[name], groups.holdsFirstCopy(of: parameter) {
        parameter.slices.place(try local(parameter), into: &whole)
      }
      try groups.world.sum(&whole)
      result[name] = whole
    }
    return result
  }
}

extension AdapterPlan {
  /// Names and shapes of both halves and of the weights trained whole, in the order of the model.
  func tensors(_ map: NameMap) -> [(name: String, shape: [Int])] {
    var result: [(String, [Int])] = []
    for row in map.all {
      if savedWeights.contains(row.name) { result.append((row.name, row.shape)) }
      guard let site = sites[row.name] else { continue }
      let names = AdapterNames(weight: row.name)
      let shapes = site.shapes(of: row.shape)
      result += [(names.a, shapes.a), (names.b, shapes.b)]
    }
    return result
  }
}

extension RankGroups {
  /// Whether this rank is the first of those that hold the same part of a weight: the one that
  /// writes and counts it.
  func holdsFirstCopy(of parameter: Parameter) -> Bool {
    if parameter.role.isExpert {
      return edp.rank == 0 && (!parameter.role.isReplicated || etp.rank == 0)
    }
    return dp.rank == 0 && (!parameter.role.isReplicated || tp.rank == 0)
  }
}
