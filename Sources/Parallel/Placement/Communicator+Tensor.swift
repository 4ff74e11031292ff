import Support
import Tensor

extension Communicator {
  /// Σ over ranks in tree order, rounded to `dtype` once. May work in the memory of `x`.
  func summed(_ x: Tensor, as dtype: DType) throws(Fault) -> Tensor {
    guard size > 1 else { return try x.converted(to: dtype) }
    let wide = x.dtype == .float32 ? x : try x.converted(to: .float32)
    if !x.engine.isPlanning { try allReduce(wide.floats, order: .adjacentFirst) }
    return try wide.converted(to: dtype)
  }

  /// This rank's rows of the sum over ranks.
  func sumScattered(_ x: Tensor, as dtype: DType) throws(Fault) -> Tensor {
    guard size > 1 else { return try x.converted(to: dtype) }
    let wide = x.dtype == .float32 ? x : try x.converted(to: .float32)
    let own = try Tensor([x.rows / size] + x.shape.dropFirst(), .float32, on: x.engine)
    if !x.engine.isPlanning {
      try reduceScatter(UnsafeBufferPointer(wide.floats), into: own.floats, order: .adjacentFirst)
    }
    return try own.converted(to: dtype)
  }

  /// The rows of all ranks, one rank after another.
  func gathered(_ x: Tensor) throws(Fault) -> Tensor {
    guard size > 1 else { return x }
    let all = try Tensor([x.rows * size] + x.shape.dropFirst(), x.dtype, on: x.engine)
    if !x.engine.isPlanning { try allGather(UnsafeRawBufferPointer(x.bytes), into: all.bytes) }
    return all
  }

  /// A copy of this rank's share of the rows.
  func ownRows(of x: Tensor) throws(Fault) -> Tensor {
    guard size > 1 else { return x }
    let count = x.rows / size
    return try x.rowRange(rank * count..<(rank + 1) * count).copy()
  }
}

extension Communicator {
  /// Columns of all ranks beside each other: `[t, c]` → `[t, c·size]`.
  public func gatherColumns(_ x: Tensor) throws(Fault) -> Tensor {
    guard size > 1 else { return x }
    let blocks = try gathered(x)
    let out = try Tensor([x.rows, x.rowSize * size], x.dtype, on: x.engine)
    guard !x.engine.isPlanning else { return out }
    let bytes = x.rowSize * x.dtype.size
    for r in 0..<size {
      for t in 0..<x.rows {
        (out.address + (t * size + r) * bytes).copyMemory(
          from: blocks.address + (r * x.rows + t) * bytes, byteCount: bytes)
      }
    }
    return out
  }
}
