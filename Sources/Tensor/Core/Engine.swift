import CKernels
import Support

/// What one rank computes with: threads, kernel variants, memory. Passed down explicitly; there is
/// no default engine.
///
/// Unchecked: the C engine takes one caller at a time, and the thread that drives training is that
/// caller (style: one thread per rank owns the tape and all collectives).
public final class Engine: @unchecked Sendable {
  public let arena = Arena()
  /// Counts memory and calls without computing: tensors of such an engine have no storage.
  public let isPlanning: Bool
  let handle: OpaquePointer?

  /// - Parameters:
  ///   - threads: compute threads of this rank, the caller included.
  ///   - level: forces an instruction-set level (`--cpu_level`, tests); nil takes the best.
  /// - Throws: `OPT-110` if this CPU does not have `level`.
  public init(threads: Int = 1, pinned: Bool = false, level: KernelLevel? = nil) throws(Fault) {
    isPlanning = false
    guard
      let engine = ck_engine_create(
        Int32(max(1, threads)), pinned ? 1 : 0, level.map { Int32($0.rawValue) } ?? -1)
    else {
      throw Fault(
        .cpuLevel, "this CPU has no \(level.map { "\($0)" } ?? "usable") level",
        at: .flag("cpu_level"),
        expected: KernelLevel.allCases.filter(\.isAvailable).map { "\($0)" }.joined(separator: ", ")
      )
    }
    handle = engine
  }

  /// An engine that computes nothing.
  public init(planning: Void) {
    isPlanning = true
    handle = nil
  }

  deinit { if let handle { ck_engine_destroy(handle) } }

  public var threads: Int { handle.map { Int(ck_engine_threads($0)) } ?? 1 }
  public var level: KernelLevel {
    handle.flatMap { KernelLevel(rawValue: Int(ck_engine_level($0).rawValue)) } ?? .portable
  }
}

/// Instruction-set levels the kernels are written for.
public enum KernelLevel: Int, Sendable, CaseIterable {
  case portable = 0
  case avx2 = 1
  case avx512 = 2
  case avx512bf16 = 3

  public var isAvailable: Bool { ck_level_available(ck_level(UInt32(rawValue))) != 0 }
}

extension FaultCode {
  public static let cpuLevel = FaultCode(
    "OPT-110", .usage, "an instruction-set level was asked for that this CPU does not have")
}

extension Engine {
  /// Runs a kernel, unless this engine only plans.
  package func kernel(_ body: (OpaquePointer) -> Void) {
    if let handle { body(handle) }
  }
}
