import Synchronization

/// What a rank would exchange, by group and kind of call: filled by `PlanWorld`, read by planners.
public final class PlanCounter: Sendable {
  /// One line of the account.
  public struct Row: Sendable, Equatable {
    /// Name of the group.
    public let label: String
    public let kind: CollectiveKind
    /// Members of the group.
    public let size: Int
    public var calls = 0
    /// Sum of the buffers this rank gave, bytes.
    public var payload = 0
    /// Bytes this rank sends to others: the volume of our own collectives.
    public var sent = 0
  }

  private struct Key: Hashable {
    let label: String
    let kind: CollectiveKind
  }
  private struct State {
    var rows: [Row] = []
    var index: [Key: Int] = [:]
  }
  private let state = Mutex(State())

  public init() {}

  func tally(_ kind: CollectiveKind, label: String, size: Int, payload: Int, sent: Int) {
    state.withLock { state in
      let key = Key(label: label, kind: kind)
      let place = state.index[key] ?? state.rows.count
      if place == state.rows.count {
        state.index[key] = place
        state.rows.append(Row(label: label, kind: kind, size: size))
      }
      state.rows[place].calls += 1
      state.rows[place].payload += payload
      state.rows[place].sent += sent
    }
  }

  /// The account, in order of first use.
  public var rows: [Row] { state.withLock { $0.rows } }
}
