import Foundation
import Support

/// The program `megatron`: its first word names the program to run, and with `NPROC_PER_NODE` or
/// `NNODES` it starts the ranks itself.
public struct Dispatcher: Sendable {
  let launch: LaunchEnvironment
  /// Folder of the sibling binaries.
  let folder: String
  /// The user is root; Open MPI refuses that unless it is told twice.
  let isRoot: Bool
  let exists: @Sendable (String) -> Bool

  public init(
    launch: LaunchEnvironment, folder: String, isRoot: Bool,
    exists: @escaping @Sendable (String) -> Bool = {
      FileManager.default.isExecutableFile(atPath: $0)
    }
  ) {
    self.launch = launch
    self.folder = folder
    self.isRoot = isRoot
    self.exists = exists
  }

  /// The process that takes the place of this one.
  public struct Command: Sendable, Equatable {
    /// Path, or a name that is looked for in `PATH`.
    public var program: String
    /// Without the program's name.
    public var arguments: [String]
    /// Variables added to the environment.
    public var environment: [String: String] = [:]
    /// The line that is printed before.
    public var announcement: String?
  }

  /// What is to be done.
  public enum Plan: Sendable, Equatable {
    case run(Command)
    case print(String)
  }

  /// Programs that are started on several ranks by the variables.
  static let launched: Set<ProgramName> = [.sft, .pt, .infer]

  /// - Parameter words: without the program's own name.
  /// - Throws: `OPT-105` with the list of commands, `OPT-106`, `RUN-101`.
  public func plan(_ words: [String]) throws(Fault) -> Plan {
    guard let word = words.first else { throw unknown("no command was given") }
    if ["-h", "--help", "help"].contains(word) { return .print(Self.commandList) }
    let name = OptionName.normal(Substring(word))
    if name == "rlhf" {
      throw Fault(.refusedOption, "preference training (rlhf) is not supported")
    }
    let merges = name == "merge_lora"
    guard let program = merges ? .export : ProgramName(rawValue: name) else {
      throw unknown("\"\(word)\" is not a command")
    }
    let path = folder + "/" + program.binary
    guard exists(path) else {
      throw Fault(
        .programMissing, "the program is not beside the dispatcher", at: .file(path),
        fix: "build or install all programs into one folder")
    }
    let rest = (merges ? ["--merge_lora", "true"] : []) + words.dropFirst()
    guard Self.launched.contains(program), launch.processesPerNode != nil,
      !launch.world.isInsideMPI, !Self.asksForText(rest)
    else { return .run(Command(program: path, arguments: rest)) }
    return .run(try onRanks(path, rest))
  }

  /// Options that only print something need no ranks.
  private static func asksForText(_ words: [String]) -> Bool {
    words.contains { ["-h", "--help"].contains($0) }
  }

  /// `mpirun` over all nodes, from the one place that starts it.
  private func onRanks(_ path: String, _ words: [String]) throws(Fault) -> Command {
    if let fault = launch.complaints.fault(program: "megatron") { throw fault }
    let perNode = launch.processesPerNode ?? 1
    let (ranks, overflow) = perNode.multipliedReportingOverflow(by: launch.nodes)
    guard !overflow, ranks <= 1_000_000 else {
      throw Fault(
        .launchContradiction, "NNODES · NPROC_PER_NODE is too large",
        found: "\(perNode) · \(launch.nodes)")
    }
    if launch.nodeRank > 0 {
      throw Fault(
        .launchContradiction,
        "NODE_RANK is \(launch.nodeRank): the command is started once, not on every node",
        fix: "start it where NODE_RANK is 0; mpirun reaches the other nodes through its host file "
          + "or the batch system")
    }
    var arguments = ["-n", String(ranks)]
    if launch.nodes > 1 {
      arguments += ["--map-by", "ppr:\(perNode):node", "--bind-to", "none"]
    } else {
      // More ranks than cores are allowed on one node; binding would put all threads on one core.
      arguments += ["--oversubscribe", "--bind-to", "none"]
    }
    arguments.append(path)
    guard SecretWords.places(["hub_token"], in: words).isEmpty else {
      // The line of mpirun can be read by every user for the whole run.
      throw Fault(
        .refusedOption, "a token cannot be handed to several ranks unseen", at: .flag("hub_token"),
        fix: "name a file with --hub_token_file, or set HF_TOKEN or MODELSCOPE_API_TOKEN")
    }
    var command = Command(program: "mpirun", arguments: arguments + words)
    if isRoot {
      command.environment = [
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
      ]
    }
    let line = (["mpirun"] + command.arguments).map(Self.quoted).joined(separator: " ")
    command.announcement = "run sh: `\(line)`"
    return command
  }

  private func unknown(_ what: String) -> Fault {
    Fault(.unknownCommand, what, expected: "one of the commands below\n" + Self.commandList)
  }

  static var commandList: String {
    let rows = ProgramName.allCases.map { program in
      "  \(program.rawValue)" + String(repeating: " ", count: 8 - program.rawValue.count)
        + program.summary
    }
    return
      (["Usage: megatron COMMAND OPTIONS", "", "Commands:"] + rows + [
        "", "megatron COMMAND --help lists the options of a command.",
      ]).joined(separator: "\n") + "\n"
  }

  /// A word as a shell would need it.
  static func quoted(_ word: String) -> String {
    let plain = word.unicodeScalars.allSatisfy {
      $0.isASCII && ($0.properties.isAlphabetic || ("0"..."9").contains($0))
        || "_-./=:,+@%#".unicodeScalars.contains($0)
    }
    if plain, !word.isEmpty { return word }
    return "'" + word.replacingOccurrences(of: "'", with: "'\\''") + "'"
  }
}
