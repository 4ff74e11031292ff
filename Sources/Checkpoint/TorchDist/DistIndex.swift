import Support
import Tensor

/// Where an item lies: bytes `[offset, offset + length)` of a file of the checkpoint.
public struct ItemLocation: Sendable, Hashable {
  public let file: String
  public let offset: Int
  public let length: Int

  public init(file: String, offset: Int, length: Int) {
    self.file = file
    self.offset = offset
    self.length = length
  }
}

/// One stored piece of a tensor.
public struct StoredChunk: Sendable, Equatable {
  /// Its place in the global tensor.
  public let box: Box
  public let location: ItemLocation
}

/// A tensor of a checkpoint: global shape and the pieces that tile it.
public struct StoredTensor: Sendable {
  public let spec: TensorSpec
  /// Sorted by the begin in the first dimension.
  public let chunks: [StoredChunk]
  /// The longest piece along the first dimension, which bounds a search.
  let longestFirst: Int

  init(spec: TensorSpec, chunks: [StoredChunk]) {
    self.spec = spec
    self.chunks = chunks.sorted {
      $0.box.offsets.lexicographicallyPrecedes($1.box.offsets)
    }
    longestFirst = chunks.map { $0.box.sizes.first ?? 1 }.max() ?? 0
  }

  /// The pieces that may share elements with `box`.
  func candidates(_ box: Box) -> ArraySlice<StoredChunk> {
    guard let low = box.offsets.first, let size = box.sizes.first else { return chunks[...] }
    let from = chunks.partitioned { $0.box.offsets[0] > low - longestFirst }
    let to = chunks.partitioned { $0.box.offsets[0] >= low + size }
    return chunks[from..<max(from, to)]
  }
}

extension Array {
  /// The first place where `after` holds, in an array where it holds from some place on.
  fileprivate func partitioned(_ after: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if after(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

/// What `.metadata` says: every tensor with its pieces, every byte object, all checked.
public struct DistIndex: Sendable {
  /// Keys in the order of the file.
  public internal(set) var keys: [String] = []
  public internal(set) var tensors: [String: StoredTensor] = [:]
  public internal(set) var objects: [String: ItemLocation] = [:]
  /// Path of each key in the nested dictionary that was saved, where the writer tells it
  /// (plain DCP); numbers are written as decimal text.
  public internal(set) var paths: [String: [String]] = [:]
  /// Shape before the flattening of optimizer tensors by megatron-core 0.13 and 0.14.
  public internal(set) var unflattenedShapes: [String: [Int]] = [:]

  /// The files that items lie in.
  var files: Set<String> {
    var names = Set(objects.values.map(\.file))
    for tensor in tensors.values { names.formUnion(tensor.chunks.map(\.location.file)) }
    return names
  }
}
