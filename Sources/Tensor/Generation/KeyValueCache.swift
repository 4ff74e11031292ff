import CKernels
import Support

/// What is kept of a token on this rank: keys and values of its groups in every layer.
public struct KeyValueShape: Sendable, Equatable {
  public let layers: Int
  /// Key/value groups of this rank.
  public let groups: Int
  /// Head size.
  public let d: Int
  public let dtype: DType
  public init(layers: Int, groups: Int, d: Int, dtype: DType) {
    self.layers = layers
    self.groups = groups
    self.d = d
    self.dtype = dtype
  }

  /// Tokens of a page.
  public static let pageTokens = Int(CK_PAGE)

  func layerBytes(on engine: Engine) -> Int {
    guard let handle = engine.handle else { return 0 }
    return ck_cache_page_bytes(handle, dtype.kernelType, Int32(groups), Int32(d))
  }
}

/// Keys and values of 128 tokens in all layers. Sequences with a common beginning share it; whoever
/// writes into a shared one first takes a copy.
final class KeyValuePage {
  let storage: Storage

  init(bytes: Int, on engine: Engine) throws(Fault) {
    storage = try Storage(byteCount: max(1, bytes), engine: engine)
    // Places that no token has yet are read and weighted with zero: they must be finite.
    storage.address?.initializeMemory(as: UInt8.self, repeating: 0, count: storage.byteCount)
  }

  func copy() throws(Fault) -> KeyValuePage {
    let page = try KeyValuePage(bytes: storage.byteCount, on: storage.engine)
    if let from = storage.address {
      page.storage.address?.copyMemory(from: from, byteCount: storage.byteCount)
    }
    return page
  }
}

/// Keys and values of one sequence, as the attention kernel reads them.
///
/// Unchecked: used by the thread that drives the rank only.
public final class KeyValueCache: @unchecked Sendable {
  public let shape: KeyValueShape
  let engine: Engine
  private var pages: [KeyValuePage] = []
  /// Tokens kept.
  public private(set) var count = 0

  public init(_ shape: KeyValueShape, on engine: Engine) {
    self.shape = shape
    self.engine = engine
  }

  /// Bytes of its pages, shared ones included.
  public var byteCount: Int { pages.count * pageBytes }
  private var pageBytes: Int { shape.layers * shape.layerBytes(on: engine) }

  /// A cache of the first `prefix` tokens that shares the pages of this one.
  public func fork(prefix: Int) -> KeyValueCache {
    precondition(prefix <= count)
    let other = KeyValueCache(shape, on: engine)
    let size = KeyValueShape.pageTokens
    other.pages = Array(pages.prefix((prefix + size - 1) / size))
    other.count = prefix
    return other
  }

  /// Makes room for `rows` more tokens in pages of its own.
  /// - Throws: `MEM-001`.
  package func reserve(_ rows: Int) throws(Fault) {
    guard rows > 0 else { return }
    let size = KeyValueShape.pageTokens
    let last = count / size
    if last < pages.count, !isKnownUniquelyReferenced(&pages[last]) {
      pages[last] = try pages[last].copy()
    }
    while pages.count * size < count + rows {
      pages.append(try KeyValuePage(bytes: pageBytes, on: engine))
    }
  }

  /// The rows of a forward pass are kept now.
  package func advance(_ rows: Int) { count += rows }

  /// Forgets the tokens from `count` on.
  package func truncate(to count: Int) {
    precondition(count <= self.count)
    let size = KeyValueShape.pageTokens
    pages.removeLast(pages.count - (count + size - 1) / size)
    self.count = count
  }

  fileprivate var addresses: [UnsafeMutableRawPointer?] { pages.map(\.storage.address) }
}

/// The sequences whose next tokens are the rows of a forward pass, one after another.
public struct CachedRows: Sendable {
  public struct Sequence: Sendable {
    public let cache: KeyValueCache
    public let rows: Int
    public init(cache: KeyValueCache, rows: Int) {
      self.cache = cache
      self.rows = rows
    }
  }
  public let sequences: [Sequence]
  public init(_ sequences: [Sequence]) { self.sequences = sequences }

  public var rows: Int { sequences.reduce(0) { $0 + $1.rows } }

  /// Room for all rows in the caches.
  package func reserve() throws(Fault) {
    for sequence in sequences { try sequence.cache.reserve(sequence.rows) }
  }
  package func advance() {
    for sequence in sequences { sequence.cache.advance(sequence.rows) }
  }
}

extension Tape {
  /// Attention of new tokens over their sequences, whose keys and values are kept in the caches:
  /// the bits of `attention` over whole documents, however they are cut in passes.
  ///
  /// For generation: a tape that records cannot take it. Rows beyond those of `cached` are padding
  /// and give zeros.
  /// - Parameters:
  ///   - qkv: `[t, g/tp · (q/g + 2) · d]` after rotation, `split(1)` over tp.
  ///   - layer: index of the layer in the caches.
  /// - Returns: `[t, n/tp · d]`, `split(1)` over tp.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func cachedAttention(
    _ qkv: Value, _ heads: FusedHeads, _ cached: CachedRows, layer: Int
  ) throws(Fault) -> Value {
    precondition(!isRecording, "kept keys and values have no gradients")
    try qkv.require(.tp, [.split(1)], in: "cachedAttention")
    let rows = cached.rows
    try require(
      qkv.tensor.rowSize == heads.rowSize && qkv.tensor.rows >= rows, "cachedAttention", qkv,
      "[≥ \(rows), \(heads.rowSize)]")
    let engine = qkv.tensor.engine
    let o = try Tensor([qkv.tensor.rows, heads.outputSize], qkv.dtype, on: engine)
    if o.rows > rows { o.rowRange(rows..<o.rows).clear() }
    if let handle = engine.handle {
      cached.attend(handle, qkv.tensor, heads, into: o, layer: layer)
    }
    return Value(o, qkv.placement)
  }
}

extension CachedRows {
  fileprivate func attend(
    _ handle: OpaquePointer, _ qkv: Tensor, _ heads: FusedHeads, into o: Tensor, layer: Int
  ) {
    var tables: [UnsafeMutableRawPointer?] = []
    var list: [ck_cached_sequence] = []
    var places: [Int] = []
    var first = 0
    for sequence in sequences {
      places.append(tables.count)
      tables += sequence.cache.addresses
      list.append(
        ck_cached_sequence(
          first_row: first, rows: sequence.rows, start: sequence.cache.count, pages: nil))
      first += sequence.rows
    }
    guard let shape = sequences.first?.cache.shape else { return }
    var a = ck_cached_attention_args()
    a.type = qkv.dtype.kernelType
    (a.groups, a.ratio, a.d) = (Int32(heads.groups), Int32(heads.ratio), Int32(heads.d))
    a.scale = 1 / Float(heads.d).squareRoot()
    a.qkv = UnsafeRawPointer(qkv.address)
    a.qs = ck_heads(token: heads.rowSize, group: (heads.ratio + 2) * heads.d)
    a.o = o.address
    a.os = ck_heads(token: heads.outputSize, group: heads.ratio * heads.d)
    a.offset = layer * shape.layerBytes(on: o.engine)
    a.count = list.count
    tables.withUnsafeBufferPointer { table in
      for i in list.indices { list[i].pages = table.baseAddress.map { $0 + places[i] } }
      list.withUnsafeBufferPointer {
        a.sequences = $0.baseAddress
        ck_cached_attention(handle, &a)
      }
    }
  }
}
