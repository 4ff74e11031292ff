import Parallel
import Support
import Tensor

/// The communication thread with doubles of the groups that it may use.
final class BackgroundExchange {
  private let thread: CommunicationThread
  private let scratch: ExchangeScratch
  private var doubles: [ObjectIdentifier: any Communicator] = [:]
  /// Names of the groups without a double: their exchanges wait for the rank's thread.
  private(set) var uncovered: [String] = []

  /// - Parameter engine: of the rank; the thread gets one of its own, of the same level.
  /// - Communication: collective over every group.
  /// - Throws: `COMM-…`.
  init(_ groups: [any Communicator], engine: Engine) throws(Fault) {
    scratch = ExchangeScratch(engine: try Engine(threads: 1, level: engine.level))
    thread = try CommunicationThread()
    var seen: Set<ObjectIdentifier> = []
    for group in groups where group.size > 1 && seen.insert(ObjectIdentifier(group)).inserted {
      let double = try group.double(label: "\(group.label), beside")
      doubles[ObjectIdentifier(group)] = double
      if double == nil { uncovered.append(group.label) }
    }
  }

  /// Starts an exchange of a unit.
  /// - Returns: nil when the unit's group has no double.
  func start(
    _ kind: CollectiveKind, of unit: BucketUnit, bytes: Int,
    _ body: @escaping @Sendable (ExchangeWay) throws(Fault) -> Void
  ) -> PendingCall? {
    guard let group = doubles[ObjectIdentifier(unit.group)] else { return nil }
    let way = ExchangeWay(group: group, scratch: scratch)
    return thread.start(kind, on: unit.group, bytes: bytes) { () throws(Fault) in try body(way) }
  }
}
