import CKernels

extension Engine {
  /// `out = a + b`, rounded to the type of `out`; `out` may be one of them.
  public func add(_ a: Tensor, _ b: Tensor, into out: Tensor) {
    precondition(a.count == b.count && a.count == out.count)
    guard let handle else { return }
    ck_add(
      handle, a.count, a.dtype.kernelType, a.address, b.dtype.kernelType, b.address,
      out.dtype.kernelType, out.address)
  }

  public func convert(_ x: Tensor, into y: Tensor) {
    precondition(x.count == y.count)
    guard let handle else { return }
    ck_convert(handle, x.count, x.dtype.kernelType, x.address, y.dtype.kernelType, y.address)
  }

  /// `y += x`, fp32.
  public func accumulate(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int)
  {
    guard let handle else { return }
    ck_accumulate(handle, count, x, y)
  }

  /// Sets every byte to zero, by all threads: for what is large. `Tensor.clear` is for any thread.
  package func clear(_ x: Tensor) {
    guard let handle else { return }
    ck_zero(handle, x.byteCount, x.address)
  }

  public func scale(_ x: Tensor, by factor: Float) {
    guard let handle else { return }
    precondition(x.dtype == .float32)
    ck_scale(handle, x.count, factor, x.pointer(as: Float.self))
  }

  /// Inverted dropout: elements that stay are divided by what stays on average. What is drawn depends
  /// on `key`, the key of the row and the column in the whole width; `out` may be `x`.
  package func dropout(
    _ x: Tensor, probability: Float, key: UInt64, rowKeys: UnsafeBufferPointer<UInt64>,
    firstColumn: Int, into out: Tensor
  ) {
    precondition(rowKeys.count == x.rows && out.count == x.count && out.dtype == x.dtype)
    guard let handle, let keys = rowKeys.baseAddress else { return }
    ck_dropout(
      handle, x.dtype.kernelType, x.rows, x.rowSize, x.address, out.address, probability, key, keys,
      firstColumn)
  }

  /// `out[i] = x[rows[i]]`; negative rows give zeros.
  public func gatherRows(_ x: Tensor, _ rows: UnsafePointer<Int32>, into out: Tensor) {
    guard let handle else { return }
    ck_gather_rows(
      handle, x.dtype.kernelType, out.rows, out.rowSize, rows, x.address, out.address)
  }

  /// `out[i] = Σ_j weight[i,j] · x[slot[i,j]]` over `k` slots; negative slots are skipped.
  public func combineRows(
    _ x: Tensor, k: Int, _ slots: UnsafePointer<Int32>, weights: UnsafePointer<Float>? = nil,
    into out: Tensor
  ) {
    guard let handle else { return }
    ck_combine_rows(
      handle, x.dtype.kernelType, out.rows, out.rowSize, Int32(k), slots, weights, x.address,
      out.address)
  }

  /// Softmax of each fp32 row, in place.
  public func softmaxRows(_ x: Tensor, logSumExp: UnsafeMutablePointer<Float>? = nil) {
    guard let handle else { return }
    let p = x.pointer(as: Float.self)
    ck_softmax_rows(handle, x.rows, x.rowSize, p, p, logSumExp)
  }

  /// Largest magnitude; NaN if any element is NaN.
  public func absMax(_ x: Tensor) -> Float {
    guard let handle else { return 0 }
    return ck_absmax(handle, x.count, x.dtype.kernelType, x.address)
  }
}
