import Support

/// The canonical order in which the micro-batches of a global batch are added.
///
/// Micro-batch j of the global batch belongs to chunk j mod N. Inside a chunk gradients add in
/// ascending j; chunks add as a tree with partners at distance N/2 first: ((0+2)+(1+3)) for N = 4.
/// Data-parallel rank r holds the micro-batches j ≡ r mod dp, that is whole subtrees, and the
/// reduction over ranks (`TreeOrder.distantFirst`) finishes the tree: the bits are those of dp = 1.
public struct ChunkTree: Sendable, Equatable {
  /// Chunks of this rank: N/dp, at least 1.
  public let local: Int

  /// - Parameters:
  ///   - chunks: N, `canonical_batch_chunks`.
  ///   - dataParallel: ranks that share the global batch.
  /// - Throws: `OPTIM-103` unless N is 1 or a power of two that the ranks divide.
  public init(chunks: Int, dataParallel: Int) throws(Fault) {
    guard chunks >= 1, chunks & (chunks - 1) == 0 else {
      throw Fault(
        .canonicalChunksRefused, "\(chunks) chunks of the global batch are no balanced tree",
        at: .flag("canonical_batch_chunks"), expected: "a power of two", found: "\(chunks)")
    }
    guard chunks == 1 || chunks % dataParallel == 0 else {
      throw Fault(
        .canonicalChunksRefused,
        "\(chunks) chunks of the global batch do not go to \(dataParallel) data-parallel ranks",
        at: .flag("canonical_batch_chunks"), expected: "a multiple of \(dataParallel), or 1",
        found: "\(chunks)",
        fix: "use a data-parallel size that divides the chunks, or canonical_batch_chunks 1")
    }
    local = max(1, chunks / dataParallel)
  }

  /// The local chunk of this rank's micro-batch `m`.
  public func chunk(of microBatch: Int) -> Int { microBatch % local }

  /// Micro-batch `m` of `count` is the last of its chunk.
  public func completes(_ microBatch: Int, of count: Int) -> Bool { microBatch + local >= count }

  /// Flat buffers in use at once, the reduced one included: N/dp, or about half of it when no
  /// chunk has more than one micro-batch.
  public func buffers(microBatches: Int) -> Int {
    var waiting: Set<ChunkNode> = []
    var open: Set<Int> = []
    var most = 0
    for m in 0..<microBatches {
      open.insert(chunk(of: m))
      most = max(most, waiting.count + open.count)
      guard completes(m, of: microBatches) else { continue }
      open.remove(chunk(of: m))
      var node = ChunkNode(size: local, index: chunk(of: m))
      while let (partner, sum) = node.join {
        if partner.index < microBatches, waiting.remove(partner) == nil { break }
        node = sum
      }
      waiting.insert(node)
    }
    return most
  }
}

/// A node of the tree: the sum of the chunks ≡ `index` mod `size`.
struct ChunkNode: Hashable {
  let size: Int
  let index: Int
  /// The node it is added with, and their sum; nil at the root.
  var join: (partner: ChunkNode, sum: ChunkNode)? {
    guard size > 1 else { return nil }
    let half = size / 2
    return (ChunkNode(size: size, index: index ^ half), ChunkNode(size: half, index: index % half))
  }
}
