import Foundation
import Support
import Tensor
import Testing

@testable import Checkpoint

/// Where the samples lie.
enum Samples {
  static let fixtures = Folder.parent(#filePath) + "/Fixtures"

  /// The full collection, when `MEGATRON_GOLDENS` names it.
  static var goldens: String? {
    ProcessInfo.processInfo.environment["MEGATRON_GOLDENS"].map { $0 + "/checkpoint" }
  }

  /// Folders of whole Megatron checkpoints.
  static var megatron: [String] {
    let root = goldens ?? fixtures
    let names = (try? Folder.names(root)) ?? []
    return names.filter { $0.hasPrefix("mcore") || $0.hasPrefix("minimal") }.map { root + "/" + $0 }
  }

  /// The iteration folder of a sample.
  static func iteration(_ sample: String) throws -> String {
    let name = try #require(try Folder.names(sample).first { $0.hasPrefix("iter_") })
    return sample + "/" + name
  }
}

/// A folder of its own for a test, removed when the value goes away.
final class TemporaryFolder {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "/checkpoint-test-" + AtomicFile.uniqueName()
    try Folder.make(path)
  }

  deinit { try? Folder.remove(path) }
}

/// Random numbers that a printed seed repeats (SplitMix64).
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
  }
}

/// Whether `body` throws a `Fault`; any other ending than success or a fault is impossible.
func fault(_ body: () throws -> Void) -> Fault? {
  do {
    try body()
    return nil
  } catch let fault as Fault {
    return fault
  } catch {
    return Fault(.internalError, "\(error)")
  }
}
