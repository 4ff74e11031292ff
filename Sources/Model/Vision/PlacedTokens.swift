import Parallel
import Support
import Tensor

/// Visual tokens with their places in the rows that this rank has of the residual stream.
public struct PlacedTokens: Sendable {
  /// Places of this rank's placeholders among its rows, ascending.
  let rows: [Int32]
  let merged: Value  // [n, h], placed as the stream
  /// Added after the first layers, one each.
  private let deepstack: [Value]

  /// - Parameter ids: `[t]` the whole row.
  /// - Throws: `MODEL-104` when the row has more or fewer placeholders than tokens.
  /// - Communication (tp): with sequence parallelism, backward all-gather of `[n, h]` of each output.
  init(
    _ tokens: VisualTokens, ids: UnsafeBufferPointer<Int32>, _ config: VisionConfig,
    in context: Context
  ) throws(Fault) {
    let places = ids.indices.filter { config.isPlaceholder(ids[$0]) }
    guard places.count == tokens.merged.tensor.rows else {
      throw Fault(
        .visionMismatch, "the row has \(places.count) placeholders",
        expected: "one for each of the \(tokens.merged.tensor.rows) visual tokens")
    }
    guard context.setting.sequenceParallel else {
      rows = places.map(Int32.init)
      merged = tokens.merged
      deepstack = tokens.deepstack
      return
    }
    let own = context.setting.ownRows
    rows = places.filter(own.contains).map { Int32($0 - own.lowerBound) }
    var counts = [Int](repeating: 0, count: context.groups.tp.size)
    for place in places { counts[place / own.count] += 1 }
    merged = try context.scatterRows(tokens.merged, counts: counts)
    var parts: [Value] = []
    for value in tokens.deepstack { parts.append(try context.scatterRows(value, counts: counts)) }
    deepstack = parts
  }

  /// What follows the layers of `range`: none for layers past the last feature.
  func deepstack(in range: Range<Int>) -> [Value] {
    Array(deepstack[range.clamped(to: 0..<deepstack.count)])
  }
}
