import Checkpoint
import Foundation
import Support

/// A fault that `--inject` provokes at a named point of a save.
///
///     kill@save.midData,rank=1,step=4     the process dies there, as by kill -9
///     enospc@save.beforeManifest          the disk is full there
///     eio@save.afterData                  the device fails there
public struct SaveFault: Sendable, Equatable {
  public enum Kind: String, Sendable, CaseIterable {
    case kill, enospc, eio
  }

  public let kind: Kind
  public let point: CommitPoint
  /// nil: on every rank.
  public var rank: Int?
  /// The iteration that is saved; nil: at every save.
  public var step: Int?

  /// - Returns: nil for a text of another form.
  public init?(_ text: String) {
    var words = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    let head = words.removeFirst().split(separator: "@").map(String.init)
    guard head.count == 2, let kind = Kind(rawValue: head[0]), head[1].hasPrefix("save."),
      let point = CommitPoint(rawValue: String(head[1].dropFirst("save.".count)))
    else { return nil }
    self.kind = kind
    self.point = point
    for word in words {
      let parts = word.split(separator: "=").map(String.init)
      guard parts.count == 2, let number = Int(parts[1]), number >= 0 else { return nil }
      switch parts[0] {
      case "rank": rank = number
      case "step": step = number
      default: return nil
      }
    }
  }

  /// What a text must look like.
  public static var form: String {
    let kinds = Kind.allCases.map(\.rawValue).joined(separator: "|")
    let points = CommitPoint.allCases.map(\.rawValue).joined(separator: ", ")
    return "\(kinds)@save.POINT[,rank=R][,step=N], POINT one of \(points)"
  }

  /// The probe of one save.
  static func probe(_ faults: [SaveFault], rank: Int, step: Int) -> CommitProbe {
    let own = faults.filter { ($0.rank ?? rank) == rank && ($0.step ?? step) == step }
    guard !own.isEmpty else { return .none }
    return CommitProbe { (point) throws(Fault) in
      for fault in own where fault.point == point { try fault.strike() }
    }
  }

  private func strike() throws(Fault) {
    let code: Int32
    switch kind {
    case .kill:
      kill(getpid(), SIGKILL)
      return
    case .enospc: code = ENOSPC
    case .eio: code = EIO
    }
    throw Fault(
      .cannotWrite, "cannot write: \(systemMessage(code)) (injected at \(point.rawValue))")
  }
}
