import Foundation
import Parallel
import Support
import Tensor

/// One rank of a job: starts the world, runs a body, and leaves so that every rank leaves.
///
/// A fault is printed once. What every rank knows is told by rank 0; a fault of one rank alone is told
/// by that rank when nobody has ended the job some seconds later.
public enum RankJob {
  /// - Parameters:
  ///   - overlaps: collectives will be made beside the computation (`Communicator.double`).
  ///   - body: the work of one rank; collectives go through the world it is given.
  /// - Returns: the exit code; does not return after a fault in a world of several ranks.
  public static func run(
    _ launch: LaunchEnvironment = LaunchEnvironment(ProcessInfo.processInfo.environment),
    overlaps: Bool = false,
    _ body: (any Communicator) throws(Fault) -> ExitCode
  ) throws(Fault) -> ExitCode {
    guard launch.world.isInsideMPI else { return try body(SelfWorld()) }
    var options = MPIWorld.Options()
    // Inside a node such collectives need no library; several nodes are known only after the start.
    options.wantsThreads = overlaps && launch.world.localSize < launch.world.size
    let world = try MPIWorld.start(options)
    do throws(Fault) {
      let code = try body(world)
      try world.finish()
      return code
    } catch {
      if world.size == 1 {
        throw error
      }
      tell(error, rank: world.rank)
      MPIWorld.abort(error.code.exit)
    }
  }

  /// Seconds a rank leaves to rank 0 to tell the same fault and end the job.
  private static let patience = 5.0

  /// Prints the fault, unless rank 0 does it or the job is being ended already.
  private static func tell(_ fault: Fault, rank: Int) {
    if rank > 0 {
      let wasStopped = SignalFlags.current.contains(.stop)
      let end = Clock.monotonicSeconds() + patience
      while Clock.monotonicSeconds() < end {
        Thread.sleep(forTimeInterval: 0.05)
        // mpirun sends TERM to the others when one rank has ended the job.
        if !wasStopped, SignalFlags.current.contains(.stop) { return }
      }
      if fault.isAgreed { return }
    }
    Terminal.write(fault.description + "\n", to: .error)
    // mpirun adds lines of its own: let it pass on ours before.
    Thread.sleep(forTimeInterval: 0.2)
  }

  /// Threads of a rank: the flag, else the cores of the node divided by its ranks.
  static func threads(_ flag: Int?, launch: LaunchEnvironment) -> Int {
    flag ?? max(1, ProcessInfo.processInfo.activeProcessorCount / max(1, launch.world.localSize))
  }

  /// Whether compute threads are bound to one CPU each: where this process has the node to itself, or
  /// where it was given CPUs of its own (`mpirun --bind-to`). Ranks without a binding would all take
  /// the first ones.
  static func pins(_ launch: LaunchEnvironment) -> Bool {
    let info = ProcessInfo.processInfo
    return launch.world.localSize == 1 || info.activeProcessorCount < info.processorCount
  }
}

extension RunFlags {
  /// The engine of this rank.
  /// - Throws: `OPT-110` when the CPU lacks the level asked for, `OPT-111` without OpenBLAS.
  func engine(_ launch: LaunchEnvironment) throws(Fault) -> Engine {
    let level: KernelLevel?
    switch cpuLevel {
    case .auto: level = nil
    case .portable: level = KernelLevel.portable
    case .avx2: level = KernelLevel.avx2
    case .avx512: level = KernelLevel.avx512
    case .avx512BF16: level = KernelLevel.avx512bf16
    }
    return try Engine(
      threads: RankJob.threads(threads, launch: launch), pinned: RankJob.pins(launch), level: level,
      multiplier: gemmBackend == .openblas ? .openBLAS : .own)
  }

  /// - Throws: `OPT-103` when another library is asked to multiply what it cannot.
  func requireMultiplied(_ dtype: DType) throws(Fault) {
    guard gemmBackend == .openblas, dtype != .float32 else { return }
    throw Fault(
      .optionsDisagree, "OpenBLAS multiplies fp32 only, the weights are \(dtype.rawValue)",
      at: .flag("gemm_backend"), fix: "set --torch_dtype float32, or leave out --gemm_backend")
  }
}
