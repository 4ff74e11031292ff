import Model
import Support

// r rank   i inputs   o outputs   e experts

/// A module of a PEFT folder and the parts of our sites it stores.
struct PublishedModule: Sendable {
  /// Published path without `base_model.model.`.
  let path: String
  /// One, or one per expert for tensors that hold the adapters of all.
  var sources: [Source]
  /// Of a table of rows, the embedding.
  var isTable = false
  /// Dims of an input row of a convolution, which its files keep.
  var kernel: [Int]?

  /// A block of one of our sites.
  struct Source: Sendable {
    let weight: String
    /// Row of the site's A where the block's begin.
    let first: Int
    /// Rows of our weight, in the order of the module's outputs.
    let rows: [Range<Int>]
    let rank: Int
    let scale: Double
    /// The place among experts in one tensor; nil for a tensor of its own.
    var expert: FlatExpert?
  }

  /// Two matrices with their shapes.
  struct Stored {
    var a: (shape: [Int], values: [Float])
    var b: (shape: [Int], values: [Float])
  }

  /// What the folder holds of a module when these are the values of our halves.
  func stored(_ values: [String: [Float]], _ plan: AdapterPlan) throws(Fault) -> Stored {
    var pairs: [(a: [Float], b: [Float])] = []
    for source in sources { pairs.append(try PublishedModule.block(source, values, plan)) }
    let rank = sources[0].rank
    guard let expert = sources[0].expert else {
      let (a, b) = pairs[0]
      return Stored(
        a: ([rank] + (kernel ?? [a.count / rank]), a),
        b: ([b.count / rank, rank] + (kernel ?? []).dropFirst().map { _ in 1 }, b))
    }
    if expert.isTransposed {
      pairs = pairs.map {
        (
          StoredPair.transposed($0.b, rows: $0.b.count / rank),
          StoredPair.transposed($0.a, rows: rank)
        )
      }
    }
    let count = pairs.count
    let outputs = pairs[0].b.count / rank
    var up = [Float](repeating: 0, count: outputs * rank * count)
    for (e, pair) in pairs.enumerated() {
      for o in 0..<outputs {
        for j in 0..<rank { up[o * rank * count + j * count + e] = pair.b[o * rank + j] }
      }
    }
    let down = pairs.flatMap(\.a)
    return Stored(
      a: ([rank * count, down.count / (rank * count)], down), b: ([outputs, rank * count], up))
  }

  private static func block(
    _ source: Source, _ values: [String: [Float]], _ plan: AdapterPlan
  ) throws(Fault) -> (a: [Float], b: [Float]) {
    let names = AdapterNames(weight: source.weight)
    guard let site = plan.sites[source.weight], let a = values[names.a], let b = values[names.b]
    else {
      throw Fault(
        .internalError, "no values of an adapter", at: .tensor(source.weight))
    }
    let inputs = a.count / site.width
    var up: [Float] = []
    for row in source.rows.joined() {
      up += b[row * site.rank..<row * site.rank + source.rank]
    }
    return (Array(a[source.first * inputs..<(source.first + source.rank) * inputs]), up)
  }
}
