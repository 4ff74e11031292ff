import Support

/// How data sets are split, sampled, mixed and shuffled.
public struct OrderOptions: Sendable, Equatable {
  /// `--data_seed`.
  public var seed = 42
  /// `--dataset_shuffle`.
  public var shuffle = true
  /// `--split_dataset_ratio`: the part of each set that becomes validation data, 0 to 1.
  public var splitRatio = 0.0
  /// `--interleave_prob`: one chance per data set; nil = one after the other.
  public var interleave: [Double]?
  /// `--stopping_strategy`.
  public var stopping = StoppingStrategy.firstExhausted
  public init() {}
}

/// When an interleaved mixture ends.
public enum StoppingStrategy: String, Sendable {
  case firstExhausted = "first_exhausted"
  /// Sources begin again until each was used up once.
  case allExhausted = "all_exhausted"
}

/// Row `row` of data set `source`, both from 0.
public struct RowReference: Sendable, Equatable {
  public var source: Int
  public var row: Int
}

/// The order of all rows, found from the sizes of the data sets alone.
///
/// One `RandomState` is used for every set in turn; the draws follow data.md section 4, so runs can
/// be laid beside the reference row by row.
public struct OrderPlan: Sendable {
  public private(set) var train: [RowReference] = []
  public private(set) var validation: [RowReference] = []
  /// Sentences for the user: rows that repeat.
  public private(set) var notes: [String] = []

  /// - Parameters:
  ///   - sizes: rows of each data set.
  ///   - counts: the number after `#` of each, nil = all rows.
  /// - Throws: `DATA-106` when a split or a count cannot be had.
  public init(sizes: [Int], counts: [Int?], options: OrderOptions) throws(Fault) {
    guard (0...1).contains(options.splitRatio) else {
      throw Fault(
        .badSplit, "the ratio is outside 0 to 1", at: .flag("split_dataset_ratio"),
        found: "\(options.splitRatio)")
    }
    var state = RandomState(seed: options.seed)
    var trains: [[RowReference]] = []
    var validations: [[RowReference]] = []
    for (source, rows) in sizes.enumerated() {
      let count = source < counts.count ? counts[source] : nil
      if count == nil && rows == 0 { continue }
      let parts = try Self.split(
        rows: rows, count: count, options: options, using: &state)
      if let count, count > rows, count % rows > 0 {
        notes.append("data set \(source + 1): \(count) rows are asked of \(rows); rows repeat")
      }
      if let train = parts.train {
        trains.append(train.map { RowReference(source: source, row: $0) })
      }
      if let validation = parts.validation {
        validations.append(validation.map { RowReference(source: source, row: $0) })
      }
    }
    train = try Self.join(trains, options: options, using: &state)
    validation = try Self.join(validations, options: options, using: &state)
    if options.shuffle {
      if !train.isEmpty { train = Self.shuffled(train, seed: state.seed()) }
      if !validation.isEmpty { validation = Self.shuffled(validation, seed: state.seed()) }
    }
  }

  private static func shuffled(_ rows: [RowReference], seed: Int) -> [RowReference] {
    var generator = RandomGenerator(seed: seed)
    return generator.permutation(rows.count).map { rows[$0] }
  }

  private static func split(
    rows: Int, count: Int?, options: OrderOptions, using state: inout RandomState
  ) throws(Fault) -> (train: [Int]?, validation: [Int]?) {
    let wanted = count ?? rows
    let ratio = options.splitRatio
    if ratio == 0 {
      return (
        try SampleRule.indices(
          rows: rows, wanted: wanted, shuffle: options.shuffle, using: &state), nil
      )
    }
    if ratio == 1 {
      guard wanted <= rows else {
        throw Fault(
          .badSplit, "\(wanted) validation rows are asked of a data set with \(rows)",
          fix: "lower the number after #")
      }
      return (
        nil,
        try SampleRule.indices(
          rows: rows, wanted: wanted, shuffle: options.shuffle, using: &state)
      )
    }
    let held = max(Int(Double(min(rows, wanted)) * ratio), 1)
    guard wanted - held > 0, rows - held > 0 else {
      throw Fault(
        .badSplit, "no training row is left of \(min(rows, wanted)) after \(held) for validation",
        at: .flag("split_dataset_ratio"), fix: "lower the ratio or give more rows")
    }
    // Drawn even without shuffling, as the reference does.
    let seed = state.seed()
    let training: [Int]
    let validation: [Int]
    if options.shuffle {
      var generator = RandomGenerator(seed: seed)
      let order = generator.permutation(rows)
      validation = Array(order[..<held])
      training = Array(order[held...])
    } else {
      training = Array(0..<(rows - held))
      validation = Array((rows - held)..<rows)
    }
    let picked = try SampleRule.indices(
      rows: training.count, wanted: wanted - held, shuffle: options.shuffle, using: &state)
    return (picked.map { training[$0] }, validation)
  }

  private static func join(
    _ parts: [[RowReference]], options: OrderOptions, using state: inout RandomState
  ) throws(Fault) -> [RowReference] {
    guard let chances = options.interleave else { return parts.flatMap { $0 } }
    // Drawn also when there is nothing to mix.
    let seed = state.seed()
    guard parts.count > 1 else { return parts.first ?? [] }
    var mixer = try Interleaver(
      chances: chances, sources: parts.count, seed: seed, stopping: options.stopping)
    var places = [Int](repeating: 0, count: parts.count)
    var rows: [RowReference] = []
    while let source = mixer.next() {
      rows.append(parts[source][places[source]])
      places[source] += 1
      if places[source] == parts[source].count {
        places[source] = 0
        mixer.exhausted(source)
      }
    }
    return rows
  }
}
