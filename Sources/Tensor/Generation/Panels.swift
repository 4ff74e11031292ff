import CKernels
import Support

extension Tensor {
  /// The weight `[n, k]` in the order forward products of this engine read it.
  ///
  /// Products have the same bits and pack nothing, so few rows run at the speed of memory. Only
  /// forward products and the embedding take such a tensor.
  /// - Parameter chunks: canonical chunks of `k` in those products; where they cut pairs of
  ///   elements the tensor is returned as it is.
  /// - Throws: `MEM-001`.
  public func inPanels(chunks: Int) throws(Fault) -> Tensor {
    guard let handle = engine.handle, !isPanels, count > 0,
      chunks <= 1 || rowSize % (2 * chunks) == 0
    else { return self }
    let bytes = ck_panel_bytes(handle, dtype.kernelType, rows, rowSize)
    let storage = try Storage(byteCount: max(bytes, byteCount), engine: engine)
    let panels = Tensor(shape, dtype, panels: storage)
    ck_panel_pack(handle, dtype.kernelType, rows, rowSize, address, rowSize, panels.address)
    return panels
  }
}

extension Engine {
  /// `out[i]` = row `ids[i] − first` of a weight in panels; `−0.0` where it has no such row.
  package func panelRows(_ panels: Tensor, _ ids: Tensor, first: Int, into out: Tensor) {
    guard let handle else { return }
    ck_panel_rows(
      handle, panels.dtype.kernelType, panels.rowSize, panels.address, ids.count,
      ids.pointer(as: Int32.self), first, panels.rows, out.address)
  }
}
