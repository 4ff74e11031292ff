import CKernels
import Support
import Tensor

/// Rows of a table whose vocabulary is split over the tensor-parallel axis.
///
///     y[t, h] = w[id[t]]        dw[id[t]] += dy[t], tokens in ascending order
///
/// A rank gives `−0.0` for ids of other ranks, so the sum over tp is exact.
/// - Parameter ids: `[t]` on every rank.
/// - Returns: `[t, h]`, `same`; or `[t/tp, h]`, `split(0)`, with sequence parallelism.
/// - Throws: `DATA-301` for an id outside the vocabulary.
/// - Communication (tp): forward all-reduce or reduce-scatter; backward none or all-gather.
/// - Source: Shoeybi et al. 2019, section 3.
public struct VocabParallelEmbedding: Sendable {
  public let weight: Parameter  // [v/tp, h]
  /// First id of this rank.
  public let firstID: Int

  public init(weight: Parameter, firstID: Int) {
    self.weight = weight
    self.firstID = firstID
  }

  public func callAsFunction(_ ids: Tensor, in context: Context) throws(Fault) -> Value {
    let engine = ids.engine
    let h = weight.shape[1]
    let rows = try Tensor([ids.count, h], weight.dtype, on: engine)
    engine.embedding(ids, weight.tensor, first: firstID, into: rows)
    let tp = context.groups.tp
    let operation = EmbeddingLookup(
      ids: ids, weight: weight, firstID: firstID,
      gather: context.setting.sequenceParallel ? tp : nil)
    if context.setting.sequenceParallel {
      return context.tape.record(
        try tp.sumScattered(rows, as: weight.dtype), Placement(tp: .split(0)), from: [],
        trains: weight.isTrainable, operation)
    }
    return context.tape.record(
      try tp.summed(rows, as: weight.dtype), .same, from: [], trains: weight.isTrainable, operation)
  }
}

struct EmbeddingLookup: Operation {
  static let name: StaticString = "embedding"
  let ids: Tensor  // [t] int32
  let weight: Parameter
  let firstID: Int
  /// The tensor-parallel group when the rows of the gradient are split over it.
  let gather: (any Communicator)?

  var savedBytes: Int { 0 }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let dy = try dy.converted(to: weight.dtype)
    let whole = try gather?.gathered(dy) ?? dy
    guard let slot = try weight.gradientSlot() else { return [] }
    guard slot.tensor.dtype != .float32 else {
      if !slot.adds { whole.engine.clear(slot.tensor) }
      whole.engine.embeddingBackward(ids, whole, first: firstID, into: slot.tensor)
      return []
    }
    // Rows are summed in fp32; a slot of another type takes the rounded sum.
    let sum = try Tensor.zeros(slot.tensor.shape, .float32, on: whole.engine)
    whole.engine.embeddingBackward(ids, whole, first: firstID, into: sum)
    if slot.adds {
      whole.engine.add(slot.tensor, sum, into: slot.tensor)
    } else {
      whole.engine.convert(sum, into: slot.tensor)
    }
    return []
  }
}

extension Engine {
  func embedding(_ ids: Tensor, _ table: Tensor, first: Int, into out: Tensor) {
    if table.isPanels { return panelRows(table, ids, first: first, into: out) }
    kernel { engine in
      ck_embedding_forward(
        engine, table.dtype.kernelType, ids.count, table.rowSize, ids.pointer(as: Int32.self),
        first, table.rows, table.address, out.address)
    }
  }

  func embeddingBackward(_ ids: Tensor, _ dout: Tensor, first: Int, into dtable: Tensor) {
    kernel { engine in
      ck_embedding_backward(
        engine, dout.dtype.kernelType, ids.count, dout.rowSize, ids.pointer(as: Int32.self), first,
        dtable.rows, dout.address, dtable.pointer(as: Float.self))
    }
  }
}
