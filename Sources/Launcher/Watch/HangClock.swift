/// Judges whether a rank still gets on: pure, so that time is an argument.
///
/// Progress is a finished step, or a collective that began or ended. A rank that waits in vain and
/// the rank that is waited for both see none.
struct HangClock: Sendable {
  /// Seconds without progress that are a hang; nil takes 20 median steps, at least 60 s.
  let limit: Double?
  private var steps: [Double] = []
  private var stepBegan: Double
  private var lastProgress: Double
  private var operations = 0
  /// While it is not 0, standing still is no hang (a long write).
  private var pauses = 0

  /// Steps whose times are kept, and how many of them say what is normal.
  private static let kept = 64
  private static let needed = 3

  init(limit: Double?, now: Double) {
    self.limit = limit
    stepBegan = now
    lastProgress = now
  }

  /// Seconds without progress.
  func idle(_ now: Double) -> Double { now - lastProgress }

  mutating func stepEnded(_ now: Double) {
    steps.append(now - stepBegan)
    if steps.count > Self.kept { steps.removeFirst() }
    stepBegan = now
    lastProgress = now
  }

  mutating func pause(_ now: Double) { pauses += 1 }

  mutating func resume(_ now: Double) {
    pauses -= 1
    lastProgress = now
    stepBegan = now
  }

  /// - Parameter operations: collectives begun and ended so far.
  mutating func look(operations: Int, _ now: Double) {
    guard operations != self.operations || pauses > 0 else { return }
    self.operations = operations
    lastProgress = now
  }

  /// Whether the rank stands still for too long.
  func isHanging(_ now: Double) -> Bool {
    guard let patience else { return false }
    return idle(now) > patience
  }

  /// Seconds that are waited; nil while nothing is known about the length of a step.
  var patience: Double? {
    if let limit { return limit > 0 ? limit : nil }
    guard steps.count >= Self.needed else { return nil }
    return max(60, 20 * steps.sorted()[steps.count / 2])
  }
}
