import Synchronization

/// The last collectives of this process, over all its groups: what a watchdog or a crash report
/// prints to show where each rank is.
///
/// One lock without contention per call (about 0.1 µs); safe to read from another thread.
public final class OperationLog: Sendable {
  /// One call. `isDone` is false while the rank waits in it.
  public struct Entry: Sendable {
    /// Counts the calls of this process from 1.
    public let number: Int
    public let kind: CollectiveKind
    /// Name of the group.
    public let label: String
    /// Size of the buffer this rank gave, in bytes.
    public let bytes: Int
    public var isDone: Bool
  }

  private struct Ring {
    var entries: [Entry] = []
    var count = 0
  }

  /// How many calls are kept.
  public static let capacity = 64
  private let ring = Mutex(Ring())

  public init() {}

  func begin(_ kind: CollectiveKind, label: String, bytes: Int) {
    ring.withLock { ring in
      let entry = Entry(
        number: ring.count + 1, kind: kind, label: label, bytes: bytes, isDone: false)
      if ring.entries.count < Self.capacity {
        ring.entries.append(entry)
      } else {
        ring.entries[ring.count % Self.capacity] = entry
      }
      ring.count += 1
    }
  }

  func end() {
    ring.withLock { ring in
      guard ring.count > 0 else { return }
      ring.entries[(ring.count - 1) % Self.capacity].isDone = true
    }
  }

  /// The kept calls, oldest first.
  public var recent: [Entry] {
    ring.withLock { ring in
      guard ring.entries.count == Self.capacity else { return ring.entries }
      let oldest = ring.count % Self.capacity
      return Array(ring.entries[oldest...] + ring.entries[..<oldest])
    }
  }
}
