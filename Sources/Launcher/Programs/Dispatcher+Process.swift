import Foundation
import Support

extension Dispatcher {
  /// Runs the dispatcher in this process: on success it becomes the program it names.
  /// - Returns: only when nothing could be started, or when only text was asked for.
  public static func main(_ process: ProcessContext = .current()) -> ExitCode {
    main(process, onlyRanks: false) ?? .done
  }

  /// - Parameter onlyRanks: the program is running already and is replaced by `mpirun` only.
  static func main(_ process: ProcessContext, onlyRanks: Bool) -> ExitCode? {
    let dispatcher = Dispatcher(
      launch: process.launch, folder: ownFolder(), isRoot: geteuid() == 0)
    do throws(Fault) {
      switch try dispatcher.plan(process.words) {
      case .print(let text): process.print(text)
      case .run(let command):
        if onlyRanks, command.announcement == nil { return nil }
        throw become(command, process)
      }
      return .done
    } catch {
      process.report(error)
      return error.code.exit
    }
  }

  /// Folder of the running binary, links followed.
  static func ownFolder() -> String {
    let own =
      (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
      ?? CommandLine.arguments.first ?? "."
    return URL(fileURLWithPath: own).resolvingSymlinksInPath().deletingLastPathComponent().path
  }

  /// Replaces the process, so that its exit status is that of the program.
  /// - Returns: the fault, if that did not work.
  private static func become(_ command: Command, _ process: ProcessContext) -> Fault {
    if let line = command.announcement { process.print(line + "\n") }
    for (name, value) in command.environment { setenv(name, value, 1) }
    var words: [UnsafeMutablePointer<CChar>?] = ([command.program] + command.arguments).map {
      strdup($0)
    }
    words.append(nil)
    execvp(command.program, words)
    let code = errno
    for word in words { free(word) }
    return Fault(
      .programMissing, "\(command.program) cannot be started: \(systemErrorText(code))",
      fix: command.program == "mpirun" ? "install Open MPI, or unset NPROC_PER_NODE" : nil)
  }
}
