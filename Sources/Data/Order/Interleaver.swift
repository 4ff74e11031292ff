import Support

/// Draws the source of each next row by chance, until the stopping strategy is met.
struct Interleaver: Sendable {
  private let choice: WeightedChoice
  private var generator: RandomGenerator
  private(set) var used: [Bool]
  /// Sources that were drawn.
  private(set) var draws = 0
  private let stopping: StoppingStrategy

  /// - Throws: `DATA-107` unless there is one chance per source, none negative, with sum 1.
  init(
    chances: [Double], sources: Int, seed: Int, stopping: StoppingStrategy
  ) throws(Fault) {
    let sum = chances.reduce(0, +)
    guard chances.count == sources, chances.allSatisfy({ $0 >= 0 }), abs(sum - 1) < 1e-6 else {
      throw Fault(
        .badInterleave, "the chances do not fit the data sets", at: .flag("interleave_prob"),
        expected: "\(sources) numbers, none negative, that sum to 1",
        found: chances.map { "\($0)" }.joined(separator: " "))
    }
    // A source that is never drawn is never used up: with this strategy the mixture had no end.
    guard stopping == .firstExhausted || chances.allSatisfy({ $0 > 0 }) else {
      throw Fault(
        .badInterleave, "a chance of 0 never uses its data set up", at: .flag("interleave_prob"),
        fix: "leave the data set out, or use --stopping_strategy first_exhausted")
    }
    choice = WeightedChoice(weights: chances)
    generator = RandomGenerator(seed: seed)
    used = [Bool](repeating: false, count: sources)
    self.stopping = stopping
  }

  /// The source of the next row, or nil at the end of the mixture.
  mutating func next() -> Int? {
    let ended =
      stopping == .firstExhausted ? used.contains(true) : used.allSatisfy { $0 }
    guard !ended else { return nil }
    draws += 1
    return choice.index(using: &generator)
  }

  /// Goes on where another one was.
  mutating func restore(draws count: Int, used: [Bool]) {
    while draws < count {
      draws += 1
      _ = choice.index(using: &generator)
    }
    if used.count == self.used.count { self.used = used }
  }

  /// Says that the last row of `source` was taken.
  mutating func exhausted(_ source: Int) { used[source] = true }
}
