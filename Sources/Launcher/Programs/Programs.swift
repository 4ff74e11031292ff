import Foundation
import Support

/// Entry points of the programs: each reads its options and hands them to a body.
///
/// A body returns the exit code of the run, or throws a fault that all ranks have agreed on; it is
/// printed once, by rank 0, and its exit code becomes that of every rank. A fault that only one rank
/// knows must not get here: print it and abort the MPI job where it happens (style: agreement
/// points), or the other ranks wait for ever.
public enum Programs {
  /// What a program does with its options.
  public typealias Body<Options> = @Sendable (Options) throws(Fault) -> ExitCode

  public static func sft(
    _ process: ProcessContext = .current(), body: Body<TrainingOptions>
  ) -> ExitCode {
    if let code = process.startRanks(.sft) { return code }
    let launch = process.launch
    let swift = process.programName == "swift-sft"
    return process.run(body) { words throws(Fault) in
      try TrainingOptions.read(words, program: .sft, launch: launch, swiftProgram: swift)
    }
  }

  public static func pt(
    _ process: ProcessContext = .current(), body: Body<TrainingOptions>
  ) -> ExitCode {
    if let code = process.startRanks(.pt) { return code }
    let launch = process.launch
    return process.run(body) { words throws(Fault) in
      try TrainingOptions.read(words, program: .pt, launch: launch)
    }
  }

  public static func export(
    _ process: ProcessContext = .current(), body: Body<ExportOptions>
  ) -> ExitCode {
    let launch = process.launch
    return process.run(body) { words throws(Fault) in
      try ExportOptions.read(words, launch: launch)
    }
  }

  public static func infer(
    _ process: ProcessContext = .current(), body: Body<InferOptions>
  ) -> ExitCode {
    if let code = process.startRanks(.infer) { return code }
    let launch = process.launch
    return process.run(body) { words throws(Fault) in
      try InferOptions.read(words, launch: launch)
    }
  }

  public static func parity(
    _ process: ProcessContext = .current(), body: Body<ParityOptions>
  ) -> ExitCode {
    let launch = process.launch
    return process.run(body) { words throws(Fault) in
      try ParityOptions.read(words, launch: launch)
    }
  }

  public static func bench(
    _ process: ProcessContext = .current(), body: Body<BenchOptions>
  ) -> ExitCode {
    let launch = process.launch
    return process.run(body) { words throws(Fault) in
      try BenchOptions.read(words, launch: launch)
    }
  }
}

/// The process as a program sees it: its words, its environment, where its text goes.
public struct ProcessContext: Sendable {
  /// Last component of the path the program was called by.
  public var programName: String
  public var words: [String]
  public var launch: LaunchEnvironment
  /// Takes text for standard output.
  public var print: @Sendable (String) -> Void
  /// Takes text for standard error.
  public var complain: @Sendable (String) -> Void
  /// Waits, in seconds.
  public var pause: @Sendable (Double) -> Void
  /// The process may become `mpirun` when the environment asks for ranks.
  public var mayBecomeLauncher = false

  public init(
    programName: String, words: [String], launch: LaunchEnvironment,
    print: @escaping @Sendable (String) -> Void, complain: @escaping @Sendable (String) -> Void,
    pause: @escaping @Sendable (Double) -> Void
  ) {
    self.programName = programName
    self.words = words
    self.launch = launch
    self.print = print
    self.complain = complain
    self.pause = pause
  }

  /// This process. Secrets among its words are overwritten where other users could read them.
  public static func current() -> ProcessContext {
    let words = CommandLine.arguments
    SecretWords.overwriteInProcess(["hub_token"])
    let path = words.first ?? "megatron"
    var launch = LaunchEnvironment(ProcessInfo.processInfo.environment)
    launch.mayDownload = true
    var context = ProcessContext(
      programName: path.split(separator: "/").last.map(String.init) ?? path,
      words: Array(words.dropFirst()),
      launch: launch,
      print: { Terminal.write($0, to: .output) }, complain: { Terminal.write($0, to: .error) },
      pause: { Thread.sleep(forTimeInterval: $0) })
    context.mayBecomeLauncher = true
    return context
  }

  /// Starts the ranks that `NPROC_PER_NODE` or `NNODES` asks for, as the dispatcher does.
  /// - Returns: nil when there is nothing to start; else only when that failed.
  func startRanks(_ program: ProgramName) -> ExitCode? {
    guard mayBecomeLauncher, launch.processesPerNode != nil, !launch.world.isInsideMPI else {
      return nil
    }
    var dispatched = self
    dispatched.words = [program.rawValue] + words
    return Dispatcher.main(dispatched, onlyRanks: true)
  }

  /// Only rank 0 speaks; before MPI is started the environment tells which rank that is.
  var isSpeaker: Bool { launch.world.rank == 0 }

  /// Reads the options and runs the body.
  func run<Options>(
    _ body: Programs.Body<Options>, read: ([String]) throws(Fault) -> Reading<Options>
  ) -> ExitCode {
    do throws(Fault) {
      switch try read(words) {
      case .print(let text):
        if isSpeaker { print(text) }
        return .done
      case .run(let options): return try body(options)
      }
    } catch {
      report(error)
      return error.code.exit
    }
  }

  /// Prints a fault once.
  func report(_ fault: Fault) {
    if isSpeaker {
      complain(fault.description + "\n")
    } else {
      // mpirun ends the job as soon as one rank leaves with an error: rank 0 speaks first. If it
      // did not end the job, it does not have this fault (a file that only one node lacks).
      pause(5)
      complain("rank \(launch.world.rank): " + fault.description + "\n")
    }
  }
}
