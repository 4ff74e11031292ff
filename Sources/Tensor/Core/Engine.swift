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
  ///   - multiplier: who multiplies fp32 matrices (`--gemm_backend`).
  /// - Throws: `OPT-110` if this CPU does not have `level`, `OPT-111` without the library.
  public init(
    threads: Int = 1, pinned: Bool = false, level: KernelLevel? = nil,
    multiplier: Multiplier = .own
  ) throws(Fault) {
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
    if multiplier == .openBLAS, ck_engine_use_openblas(engine) == 0 {
      ck_engine_destroy(engine)
      throw Fault(
        .noOpenBLAS, "the library libopenblas.so.0 is not installed", at: .flag("gemm_backend"),
        fix: "install the package libopenblas0, or leave out --gemm_backend")
    }
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

/// Who multiplies fp32 matrices. OpenBLAS adds in an order of its own: results then depend on the
/// number of rows and threads, and layouts are not equal to the bit.
public enum Multiplier: Sendable {
  case own
  case openBLAS
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

extension FaultCode {
  public static let noOpenBLAS = FaultCode(
    "OPT-111", .usage, "OpenBLAS was asked for and is not installed")
}

extension Engine {
  /// Times memory was asked from the system so far, for tensors and for scratch. A steady training
  /// step asks for none.
  public var systemAllocations: Int {
    arena.usage.systemAllocations + (handle.map { Int(ck_engine_allocations($0)) } ?? 0)
  }

  /// Runs `body` over [0, items) in ranges of at most `grain`, on all threads at once; nothing when
  /// this engine only plans. What the ranges write must not overlap.
  package func parallel(_ items: Int, grain: Int, _ body: (Range<Int>) -> Void) {
    guard let handle else { return }
    withoutActuallyEscaping(body) { body in
      var body = body
      withUnsafeMutablePointer(to: &body) {
        ck_parallel(
          handle, items, grain,
          { body, begin, end in
            body?.assumingMemoryBound(to: ((Range<Int>) -> Void).self).pointee(begin..<end)
          }, $0)
      }
    }
  }

  /// Runs a kernel, unless this engine only plans.
  package func kernel(_ body: (OpaquePointer) -> Void) {
    if let handle { body(handle) }
  }
}
