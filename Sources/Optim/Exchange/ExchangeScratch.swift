import Parallel
import Support
import Tensor

/// Scratch of the exchanges: the buffers are cut into pieces, so its size does not grow with the
/// model.
final class ExchangeScratch {
  /// Elements of a piece over all ranks of a group: 32 MiB of floats.
  static let elements = 1 << 23
  let engine: Engine
  private var memory: [Int: Tensor] = [:]

  init(engine: Engine) { self.engine = engine }

  /// At least `count` elements of `dtype`, kept for the next call with the same `key`.
  func tensor(_ key: Int, _ count: Int, _ dtype: DType) throws(Fault) -> Tensor {
    let bytes = count * dtype.size
    if memory[key] == nil || memory[key]!.byteCount < bytes {
      memory[key] = nil
      memory[key] = try Tensor([bytes], .uint8, on: engine)
    }
    let storage = memory[key]!.storage
    return Tensor([count], dtype, storage: storage)
  }

  /// Elements per rank of a piece, in a group of `ranks`.
  static func pieceCount(shard: Int, ranks: Int) -> Int {
    max(1, min(shard, elements / ranks))
  }
}

/// How a bucket travels: over the group itself by the thread of the rank, or over its double by the
/// communication thread.
///
/// Unchecked: the scratch and its engine are those of the one thread that makes the calls.
struct ExchangeWay: @unchecked Sendable {
  let group: any Communicator
  let scratch: ExchangeScratch
  var engine: Engine { scratch.engine }
}
