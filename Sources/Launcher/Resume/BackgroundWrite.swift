import Checkpoint
import Foundation
import Support
import Synchronization

/// Writes the part of one rank of a checkpoint on a thread of its own, from copies. It talks to nobody:
/// the ranks agree on the end, and commit, on the training thread.
final class BackgroundWrite: Sendable {
  private let result = Mutex<Result<RankReport, Fault>?>(nil)
  private let done = DispatchSemaphore(value: 0)

  init(
    tensors: [HeldTensor], objects: [ObjectShard], to folder: String, rank: Int,
    probe: CommitProbe
  ) {
    let thread = Thread { [self] in
      let outcome: Result<RankReport, Fault>
      do throws(Fault) {
        outcome = .success(
          try TorchDistWriter.write(
            tensors: tensors.map(\.shard), objects: objects, to: folder, rank: rank,
            probe: probe))
      } catch {
        outcome = .failure(error)
      }
      result.withLock { $0 = outcome }
      done.signal()
    }
    thread.name = "checkpoint writer"
    thread.start()
  }

  var isDone: Bool { result.withLock { $0 != nil } }

  /// Waits for the end.
  /// - Throws: what the writing threw.
  func report() throws(Fault) -> RankReport {
    done.wait()
    done.signal()
    guard let outcome = result.withLock({ $0 }) else {
      throw Fault(.internalError, "a background write ended without a result")
    }
    return try outcome.get()
  }
}
