import Tensor

/// Keys and values of finished sequences, so that the next turn of a conversation, or a prompt with
/// the same beginning, does not compute them again. The least recently used go first.
struct PrefixStore {
  private struct Entry {
    let tokens: [Int32]
    let cache: KeyValueCache
  }
  /// Most bytes that are kept.
  let capacity: Int
  /// Oldest first.
  private var entries: [Entry] = []

  init(capacity: Int) { self.capacity = capacity }

  var byteCount: Int { entries.reduce(0) { $0 + $1.cache.byteCount } }

  /// A cache of the longest kept beginning of `tokens`, of at most `limit` tokens.
  mutating func take(_ tokens: [Int32], limit: Int) -> KeyValueCache? {
    var best: (entry: Int, length: Int) = (0, 0)
    for (i, entry) in entries.enumerated() {
      let most = min(limit, entry.tokens.count)
      var length = 0
      while length < most, entry.tokens[length] == tokens[length] { length += 1 }
      if length > best.length { best = (i, length) }
    }
    guard best.length > 0 else { return nil }
    let entry = entries.remove(at: best.entry)
    entries.append(entry)
    return entry.cache.fork(prefix: best.length)
  }

  /// Keeps a sequence; what it continues is dropped.
  mutating func put(_ tokens: [Int32], _ cache: KeyValueCache) {
    let kept = Array(tokens.prefix(cache.count))
    guard !kept.isEmpty, cache.byteCount <= capacity else { return }
    entries.removeAll { kept.starts(with: $0.tokens) }
    entries.append(Entry(tokens: kept, cache: cache))
    while byteCount > capacity { entries.removeFirst() }
  }
}
