import Foundation
import Parallel
import Support
import Tensor

/// One rank of a job: starts the world, runs a body, and leaves so that every rank leaves.
///
/// A fault is printed once. Faults that all ranks agreed on reach all of them and rank 0 prints; a
/// fault of one rank alone is printed by that rank when nobody has ended the job a second later.
public enum RankJob {
  /// - Parameter body: the work of one rank; collectives go through the world it is given.
  /// - Returns: the exit code; does not return after a fault in a world of several ranks.
  public static func run(
    _ launch: LaunchEnvironment = LaunchEnvironment(ProcessInfo.processInfo.environment),
    _ body: (any Communicator) throws(Fault) -> ExitCode
  ) throws(Fault) -> ExitCode {
    guard launch.world.isInsideMPI else { return try body(SelfWorld()) }
    let world = try MPIWorld.start()
    do throws(Fault) {
      let code = try body(world)
      try world.finish()
      return code
    } catch {
      if world.size == 1 {
        throw error
      }
      if world.rank > 0 { Thread.sleep(forTimeInterval: 1) }
      Terminal.write(error.description + "\n", to: .error)
      MPIWorld.abort(error.code.exit)
    }
  }

  /// Threads of a rank: the flag, else the cores of the node divided by its ranks.
  static func threads(_ flag: Int?, launch: LaunchEnvironment) -> Int {
    flag ?? max(1, ProcessInfo.processInfo.activeProcessorCount / max(1, launch.world.localSize))
  }
}

extension RunFlags {
  /// The engine of this rank.
  /// - Throws: `OPT-110` when the CPU lacks the level asked for.
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
      threads: RankJob.threads(threads, launch: launch), level: level)
  }
}
