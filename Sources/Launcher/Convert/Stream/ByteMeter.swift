import Checkpoint
import Foundation
import Support
import Synchronization

/// Progress of a conversion in bytes, with the time that is left; asks on the way whether to stop.
final class ByteMeter: Sendable {
  private struct State {
    var done = 0
    /// Found finished at the start: no measure of speed.
    var found = 0
    var spoken: Double
  }

  /// Seconds between two lines.
  private static let interval = 5.0
  private let total: Int
  private let folder: String?
  private let logger: Logger
  private let isStopped: @Sendable () -> Bool
  private let start = Clock.monotonicSeconds()
  private let state: Mutex<State>

  /// - Parameters:
  ///   - total: bytes of all ranks.
  ///   - folder: where all ranks write, when there are several: rank 0 speaks for them.
  ///   - isStopped: whether somebody asks to stop.
  init(
    total: Int, folder: String?, logger: Logger, isStopped: @escaping @Sendable () -> Bool
  ) {
    self.isStopped = isStopped
    self.total = total
    self.folder = folder
    self.logger = logger
    state = Mutex(State(spoken: start))
  }

  /// - Throws: `RUN-103` when it is to stop.
  func add(_ bytes: Int, isNew: Bool) throws(Fault) {
    let now = Clock.monotonicSeconds()
    let line = state.withLock { state -> (done: Int, found: Int)? in
      state.done += bytes
      if !isNew { state.found += bytes }
      guard now - state.spoken >= Self.interval else { return nil }
      state.spoken = now
      return (state.done, state.found)
    }
    if let line { say(written(line.done), found: line.found, seconds: now - start) }
    if isStopped() { throw StreamedWrite.stopped }
  }

  /// Bytes of all ranks, by the sizes of their files.
  private func written(_ own: Int) -> Int {
    guard let folder, logger.rank == 0, let names = try? Folder.names(folder) else { return own }
    return names.reduce(0) { $0 + (Folder.fileSize(folder + "/" + $1) ?? 0) }
  }

  private func say(_ done: Int, found: Int, seconds: Double) {
    let rate = Double(done - found) / max(seconds, 1e-3)
    let left = rate > 0 ? Double(max(total - done, 0)) / rate : 0
    logger.info(
      "\(Self.size(min(done, total))) of \(Self.size(total)), \(Self.size(Int(rate)))/s, "
        + "\(durationText(seconds: left)) left")
  }

  /// The closing line.
  func finish() {
    let (done, found) = state.withLock { ($0.done, $0.found) }
    let seconds = Clock.monotonicSeconds() - start
    let bytes = folder == nil ? done : total
    let gib = Double(max(bytes - found, 1)) / Double(1 << 30)
    logger.info(
      "\(Self.size(bytes)) in \(String(format: "%.1f", seconds)) s, "
        + "\(Self.size(Int(Double(bytes - found) / max(seconds, 1e-3))))/s, "
        + "\(String(format: "%.2f", ProcessMemory.cpuSeconds / gib)) CPU-s per GiB, "
        + "peak memory \(ProcessMemory.peakBytes >> 20) MiB")
  }

  /// `1.25 GiB`.
  static func size(_ bytes: Int) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var value = Double(bytes)
    var unit = 0
    while value >= 1024, unit < units.count - 1 { (value, unit) = (value / 1024, unit + 1) }
    return unit == 0 ? "\(bytes) B" : String(format: "%.2f ", value) + units[unit]
  }
}
