import Support

/// Which assignments an expert keeps when its capacity is limited. Pure functions over the rows of
/// one scope (a micro-batch of a data-parallel rank, or one rank's rows).
public enum Capacity {
  /// `min(T, ⌈((T·k)/E)·factor⌉)` in double precision and in this order: with a factor like 1.1
  /// another order gives another number.
  public static func limit(tokens: Int, topK: Int, experts: Int, factor: Double) -> Int {
    let share = Double(tokens * topK) / Double(experts)
    return min(tokens, Int((share * factor).rounded(.up)))
  }

  /// - Parameters:
  ///   - experts, gates: `[t, k]` of all rows of the scope, in row order; expert −1 = no row.
  ///   - capacity: rows each expert may have.
  /// - Returns: `kept [t, k]`, and for each expert the unchosen rows that fill it up when the input
  ///   of every expert is padded to the capacity.
  public static func keep(
    experts: [Int32], gates: [Float], options: RouterOptions, capacity: Int
  ) -> (kept: [Bool], fill: [[Int]]) {
    let k = options.topK
    var kept = [Bool](repeating: false, count: experts.count)
    var chosen = [[(slot: Int, gate: Float)]](repeating: [], count: options.experts)
    for slot in experts.indices where experts[slot] >= 0 {
      chosen[Int(experts[slot])].append((slot, gates[slot]))
    }
    var fill = [[Int]](repeating: [], count: options.experts)
    for expert in 0..<options.experts {
      var candidates = chosen[expert]
      if options.dropPolicy == .probs, candidates.count > capacity {
        // Stable: equal gates keep the lower row.
        candidates.sort { $0.gate != $1.gate ? $0.gate > $1.gate : $0.slot < $1.slot }
      }
      for candidate in candidates.prefix(capacity) { kept[candidate.slot] = true }
      if options.padsToCapacity, candidates.count < capacity {
        let taken = Set(candidates.map { $0.slot / k })
        let rows = (0..<experts.count / k).lazy.filter {
          !taken.contains($0) && experts[$0 * k] >= 0
        }
        fill[expert] = Array(rows.prefix(capacity - candidates.count))
      }
    }
    return (kept, fill)
  }
}
