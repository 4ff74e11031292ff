import Support
import Tensor

// t tokens   v/tp local vocabulary   h hidden   R rank   x/tp the local part of x

/// The narrow half of an embedding's adapter: columns of A by token.
///
///     u[t, R] = A[R, id[t]]       dA[R, id[t]] += du[t], tokens in ascending order
struct AdapterLookup: Operation {
  static let name: StaticString = "adapterLookup"
  let ids: Tensor  // [t] int32
  let pair: LowRankPair
  /// First id of this rank's columns.
  let firstID: Int
  /// The tensor-parallel group when the rows of the gradient are split over it.
  let gather: (any Communicator)?

  var savedBytes: Int { 0 }

  /// Zeros for tokens of other ranks, so that the sum over ranks is exact.
  func forward() throws(Fault) -> Tensor {
    let u = try Tensor.zeros([ids.count, pair.width], .float32, on: ids.engine)
    guard !ids.engine.isPlanning else { return u }
    let a = try pair.a.tensor.converted(to: .float32)
    let (from, to, columns) = (a.floats, u.floats, pair.a.shape[1])
    for (token, column) in own {
      for j in 0..<pair.width { to[token * pair.width + j] = from[j * columns + column] }
    }
    return u
  }

  /// Tokens whose column this rank has.
  private var own: [(token: Int, column: Int)] {
    let ids = UnsafeBufferPointer(start: ids.pointer(as: Int32.self), count: ids.count)
    return ids.enumerated().compactMap { token, id in
      let column = Int(id) - firstID
      return (0..<pair.a.shape[1]).contains(column) ? (token, column) : nil
    }
  }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let du = try (try gather?.gathered(dy) ?? dy).converted(to: .float32)
    let sum = try Tensor.zeros(pair.a.shape, .float32, on: du.engine)
    if !du.engine.isPlanning {
      let (from, to, columns) = (du.floats, sum.floats, pair.a.shape[1])
      for (token, column) in own {
        for j in 0..<pair.width { to[j * columns + column] += from[token * pair.width + j] }
      }
    }
    try pair.a.addGradient(sum)
    return []
  }
}

extension Context {
  /// Adds an adapter to rows of a table whose vocabulary is split over tp.
  ///
  ///     y[t, h] += u[t, R] · (s·B)[h, R]ᵀ
  ///
  /// Nothing is dropped: there is no input to drop from.
  /// - Parameters:
  ///   - y: the rows `[t, h]` `same`, or `[t/tp, h]` `split(0)`; its memory is used for the result.
  ///   - ids: `[t]` on every rank.
  ///   - firstID: first id of this rank.
  /// - Communication (tp): an all-reduce (or reduce-scatter, backward a gather) of `t·R`; sums of
  ///   `h·R` fp32 over rows.
  public func adapted(
    embedding y: Value, _ pair: LowRankPair, _ ids: Tensor, firstID: Int
  ) throws(Fault) -> Value {
    let tp = groups.tp
    let lookup = AdapterLookup(
      ids: ids, pair: pair, firstID: firstID, gather: setting.sequenceParallel ? tp : nil)
    let partial = try lookup.forward()
    let narrow =
      setting.sequenceParallel
      ? try tp.sumScattered(partial, as: pair.dtype) : try tp.summed(partial, as: pair.dtype)
    let u = tape.record(narrow, y.placement, from: [], trains: pair.a.isTrainable, lookup)
    return try up(y, pair, u, outputChunks: nil, tree: RowTree(setting))
  }
}
