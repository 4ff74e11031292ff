/// Which samples are tried in place of one that fails: a pure function of its index, so that every
/// rank and every thread makes the same choice.
struct ReplacementOrder: Sendable {
  /// Most samples that are tried for one.
  static let tries = 10
  private let order: [Int]

  /// - Parameter seed: `--data_seed`.
  init(count: Int, seed: Int) {
    var state = RandomState(seed: seed)
    order = state.permutation(count)
  }

  /// The sample itself, then others.
  func candidates(_ index: Int) -> [Int] {
    var places = [index]
    var step = 0
    while places.count < min(Self.tries, order.count), step < order.count {
      let other = order[(index + step) % order.count]
      step += 1
      if other != index { places.append(other) }
    }
    return places
  }
}
