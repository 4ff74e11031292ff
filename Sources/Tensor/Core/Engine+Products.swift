import CKernels

/// A matrix product for the kernels. Shapes: `form` says how a and b lie (CKernels.h).
public struct Product {
  public enum Form: Sendable {
    /// `c[m,n] = a[m,k] · b[n,k]ᵀ`
    case forward
    /// `c[m,n] = a[m,k] · b[k,n]`
    case inputGradient
    /// `c[m,n] = a[k,m]ᵀ · b[k,n]`
    case weightGradient
  }

  public var form: Form
  public var a: Tensor
  public var b: Tensor
  public var c: Tensor
  /// Canonical chunks of the summed dim.
  public var chunks = 1
  /// Add to `c` instead of overwriting it.
  public var adds = false
  /// Which rows of `a` (forward, inputGradient) or of `b` (weightGradient) take part.
  public var rows: UnsafePointer<Int32>?
  /// Number of rows given by `rows`.
  public var rowCount: Int?

  public init(
    _ form: Form, _ a: Tensor, _ b: Tensor, into c: Tensor, chunks: Int = 1, adds: Bool = false
  ) {
    self.form = form
    self.a = a
    self.b = b
    self.c = c
    self.chunks = chunks
    self.adds = adds
  }

  var arguments: ck_gemm_args {
    precondition(a.dtype == b.dtype, "a product of \(a.dtype) and \(b.dtype)")
    var g = ck_gemm_args()
    let aRows = form == .weightGradient ? a.rows : (rowCount ?? a.rows)
    switch form {
    case .forward: (g.form, g.m, g.n, g.k) = (CK_NT, aRows, b.rows, a.rowSize)
    case .inputGradient: (g.form, g.m, g.n, g.k) = (CK_NN, aRows, b.rowSize, a.rowSize)
    case .weightGradient: (g.form, g.m, g.n, g.k) = (CK_TN, a.rowSize, b.rowSize, a.rows)
    }
    precondition(c.count == g.m * g.n, "product into \(c.shape), expected [\(g.m), \(g.n)]")
    (g.ab_type, g.c_type) = (a.dtype.kernelType, c.dtype.kernelType)
    g.write = adds ? CK_ADD : CK_STORE
    g.chunks = Int32(chunks)
    (g.a, g.lda) = (UnsafeRawPointer(a.address), a.rowSize)
    precondition(!b.isPanels || form == .forward)
    g.b_panels = b.isPanels ? 1 : 0
    (g.b, g.ldb) = (UnsafeRawPointer(b.address), b.rowSize)
    (g.c, g.ldc) = (c.address, g.n)
    if form == .weightGradient { g.k_rows = rows } else { g.a_rows = rows }
    return g
  }
}

extension Engine {
  public func multiply(_ product: Product) {
    guard let handle else { return }
    var arguments = product.arguments
    ck_gemm(handle, &arguments)
  }

  /// Independent products as one list of tiles. The blocks of `c` must not overlap.
  public func multiply(_ products: [Product]) {
    guard let handle, !products.isEmpty else { return }
    let list = products.map(\.arguments)
    ck_gemm_grouped(handle, list, list.count)
  }
}
