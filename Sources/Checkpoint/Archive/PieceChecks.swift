import Support
import Synchronization

/// Checks storages that are read in pieces: the checksums of the pieces are joined when they cover
/// the whole storage, in whatever order and by whatever thread they were read.
///
/// So a conversion reads every byte once and still knows that none has changed.
public final class PieceChecks: Sendable {
  private struct Progress {
    var pieces: [(range: Range<Int>, crc: UInt32)] = []
    var covered = 0
  }

  private let open = Mutex<[ItemLocation: Progress]>([:])

  public init() {}

  /// Notes a piece of the storage of an item.
  /// - Returns: the checksum of the storage, when this piece completes it.
  func add(_ item: ItemLocation, size: Int, range: Range<Int>, crc: UInt32) -> UInt32? {
    open.withLock { open -> UInt32? in
      if range.count == size { return crc }
      var progress = open[item] ?? Progress()
      progress.pieces.append((range, crc))
      progress.covered += range.count
      open[item] = progress
      guard progress.covered == size else { return nil }
      progress.pieces.sort { $0.range.lowerBound < $1.range.lowerBound }
      var end = 0
      var joined: UInt32 = 0
      for piece in progress.pieces {
        // A piece that came twice leaves another out: the item stays open.
        guard piece.range.lowerBound == end else { return nil }
        joined = CRC32.joined(joined, piece.crc, secondCount: piece.range.count)
        end = piece.range.upperBound
      }
      open[item] = nil
      return joined
    }
  }

  /// Notes that an item was read in a way that checks nothing.
  func skip(_ item: ItemLocation) { open.withLock { $0[item] = $0[item] ?? Progress() } }

  /// Items of which some bytes were read and not all are checked.
  var unfinished: [ItemLocation] {
    open.withLock { Array($0.keys) }.sorted { ($0.file, $0.offset) < ($1.file, $1.offset) }
  }
}
