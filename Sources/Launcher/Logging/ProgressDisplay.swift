import Support

/// Progress on standard error: a line that is drawn again on a terminal, else a plain line every
/// so many steps.
public struct ProgressDisplay: Sendable {
  public let total: Int
  /// Steps between plain lines.
  public let interval: Int
  private let isDrawn: Bool
  private let isSilent: Bool
  private let width: @Sendable () -> Int
  private let sink: @Sendable (String) -> Void
  private var lastDrawn = -Double.infinity

  /// What decides whether and how progress is shown.
  public struct Place: Sendable {
    public var rank = 0
    public var isInsideMPI = false
    /// Standard error is a terminal.
    public var isTerminal = false
    /// The user asked for a drawn line although `mpirun` stands between.
    public var isAsked = false
    public init() {}

    /// This process.
    public static func current(_ world: WorldInfo) -> Place {
      var place = Place()
      place.rank = world.rank
      place.isInsideMPI = world.isInsideMPI
      place.isTerminal = Terminal.isInteractive(.error)
      return place
    }
  }

  public init(
    total: Int, interval: Int, place: Place,
    width: @escaping @Sendable () -> Int = { Terminal.width(.error) },
    sink: @escaping @Sendable (String) -> Void = { Terminal.write($0, to: .error) }
  ) {
    self.total = total
    self.interval = max(1, interval)
    isSilent = place.rank != 0
    isDrawn = place.isAsked || place.isTerminal && !place.isInsideMPI
    self.width = width
    self.sink = sink
  }

  /// Shows the state after a step.
  /// - Parameters:
  ///   - note: further words, e.g. the loss.
  ///   - now: seconds of a clock that never jumps; a line is drawn ten times a second at most.
  public mutating func update(
    _ done: Int, elapsedSeconds: Double, note: String = "",
    now: Double = Clock.monotonicSeconds()
  ) {
    guard !isSilent else { return }
    if isDrawn {
      guard done == total || now - lastDrawn >= 0.1 else { return }
      lastDrawn = now
      sink("\r\u{1B}[K" + drawn(done, elapsedSeconds, note))
    } else if done % interval == 0 || done == total || done == 1 {
      sink(plain(done, elapsedSeconds, note) + "\n")
    }
  }

  /// Leaves the drawn line, so that the next text begins on a line of its own.
  public func finish() {
    if isDrawn, !isSilent { sink("\n") }
  }

  /// Removes the drawn line before other text is written.
  public func clear() {
    if isDrawn, !isSilent { sink("\r\u{1B}[K") }
  }

  func plain(_ done: Int, _ elapsed: Double, _ note: String) -> String {
    let percent = JSONRecord.percentage(done, of: total)
    return
      "step \(done)/\(total) (\(percent)), elapsed \(durationText(seconds: elapsed)), remaining "
      + durationText(seconds: remaining(done, elapsed)) + (note.isEmpty ? "" : ", " + note)
  }

  private func drawn(_ done: Int, _ elapsed: Double, _ note: String) -> String {
    let text =
      " \(done)/\(total) [\(durationText(seconds: elapsed))<"
      + "\(durationText(seconds: remaining(done, elapsed)))]" + (note.isEmpty ? "" : " " + note)
    let room = max(0, width() - 1)
    let cells = min(40, room - text.count - 6)
    let percent = NumberText.padded(total > 0 ? 100 * done / total : 0, 3) + "%"
    guard cells >= 4 else { return String((percent + text).prefix(room)) }
    let filled = total > 0 ? min(cells, cells * done / total) : 0
    let bar = String(repeating: "█", count: filled) + String(repeating: " ", count: cells - filled)
    return percent + "|" + bar + "|" + text
  }

  private func remaining(_ done: Int, _ elapsed: Double) -> Double {
    done > 0 ? elapsed * Double(max(0, total - done)) / Double(done) : 0
  }
}
