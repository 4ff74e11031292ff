import Foundation
import Support
import Testing

@testable import Launcher

@Suite("The dispatcher and the entry points")
struct DispatcherTests {
  static func dispatcher(_ variables: [String: String] = [:], root: Bool = false) -> Dispatcher {
    Dispatcher(
      launch: LaunchEnvironment(variables), folder: "/bin dir", isRoot: root,
      exists: { !$0.hasSuffix("parity") })
  }

  static func command(_ words: [String], _ variables: [String: String] = [:], root: Bool = false)
    throws -> Dispatcher.Command
  {
    guard case .run(let command) = try dispatcher(variables, root: root).plan(words) else {
      throw Unexpected(what: "text")
    }
    return command
  }

  static func fault(_ words: [String], _ variables: [String: String] = [:]) throws -> Fault {
    do {
      _ = try dispatcher(variables).plan(words)
    } catch {
      return error
    }
    throw Unexpected(what: "no fault")
  }

  @Test(
    "a word becomes its program, with all further words",
    arguments: ["sft", "pt", "export", "infer", "bench"])
  func words(word: String) throws {
    let command = try Self.command([word, "--a", "b c"])
    #expect(
      command
        == Dispatcher.Command(program: "/bin dir/megatron-\(word)", arguments: ["--a", "b c"]))
  }

  @Test("no word and an unknown word give the list of commands and exit code 2")
  func unknown() throws {
    for words in [[], ["train"], ["--lr"]] {
      let fault = try Self.fault(words)
      #expect(fault.code == .unknownCommand && fault.code.exit == .usage)
      for program in ProgramName.allCases {
        #expect(fault.description.contains("  \(program.rawValue) "))
      }
    }
    guard case .print(let text) = try Self.dispatcher().plan(["--help"]) else {
      throw Unexpected(what: "command")
    }
    #expect(text.contains("Commands:"))
  }

  @Test("commands of the reference that are not built are refused with a sentence")
  func refused() throws {
    #expect(try Self.fault(["rlhf"]).code == .refusedOption)
  }

  @Test("merge-lora is the export that merges", arguments: ["merge-lora", "merge_lora"])
  func merging(word: String) throws {
    guard case .run(let command) = try Self.dispatcher().plan([word, "--adapters", "DIR"]) else {
      throw Unexpected(what: "text")
    }
    #expect(command.program.hasSuffix("megatron-export"))
    #expect(command.arguments == ["--merge_lora", "true", "--adapters", "DIR"])
  }

  @Test("a program that is not installed is named")
  func missing() throws {
    let fault = try Self.fault(["parity"])
    #expect(fault.code == .programMissing && fault.description.contains("megatron-parity"))
  }

  @Test("NPROC_PER_NODE starts mpirun on that many ranks and prints the line first")
  func onRanks() throws {
    let command = try Self.command(["sft", "--system", "it's"], ["NPROC_PER_NODE": "4"])
    #expect(command.program == "mpirun")
    #expect(
      command.arguments == [
        "-n", "4", "--oversubscribe", "--bind-to", "none", "/bin dir/megatron-sft", "--system",
        "it's",
      ])
    #expect(
      command.announcement
        == #"run sh: `mpirun -n 4 --oversubscribe --bind-to none '/bin dir/megatron-sft' --system 'it'\''s'`"#
    )
    #expect(command.environment.isEmpty)
    #expect(try Self.command(["sft"], ["NPROC_PER_NODE": "1"]).program == "mpirun")
  }

  @Test("root needs both variables of Open MPI")
  func root() throws {
    let command = try Self.command(["pt"], ["NPROC_PER_NODE": "2"], root: true)
    #expect(
      command.environment.keys.sorted() == [
        "OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
      ])
  }

  @Test("NNODES multiplies the ranks and spreads them over the nodes")
  func nodes() throws {
    let command = try Self.command(["sft"], ["NPROC_PER_NODE": "4", "NNODES": "2"])
    #expect(
      command.arguments.starts(with: ["-n", "8", "--map-by", "ppr:4:node", "--bind-to", "none"]))
    #expect(try Self.command(["sft"], ["NNODES": "3"]).arguments.starts(with: ["-n", "3"]))
    let fault = try Self.fault(["sft"], ["NNODES": "2", "NODE_RANK": "1"])
    #expect(fault.code == .launchContradiction)
  }

  @Test("nothing is launched inside an MPI world, for export, or for --help")
  func notLaunched() throws {
    let inside = ["NPROC_PER_NODE": "2", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"]
    #expect(try Self.command(["sft"], inside).program == "/bin dir/megatron-sft")
    #expect(
      try Self.command(["export"], ["NPROC_PER_NODE": "2"]).program == "/bin dir/megatron-export")
    #expect(
      try Self.command(["sft", "--help"], ["NPROC_PER_NODE": "2"]).program
        == "/bin dir/megatron-sft")
  }

  @Test("a wrong number of ranks is a usage error", arguments: ["0", "-1", "two", "1e3"])
  func badNumber(text: String) throws {
    #expect(try Self.fault(["sft"], ["NPROC_PER_NODE": text, "NNODES": "1"]).code.exit == .usage)
  }

  @Test("a token on the command line of several ranks is refused and not shown")
  func secrets() throws {
    for words in [
      ["--hub_token", "hf_CANARY"], ["--hub-token=hf_CANARY"], ["--hub_to", "hf_CANARY"],
    ] {
      let fault = try Self.fault(["sft"] + words + ["--lr", "1"], ["NPROC_PER_NODE": "2"])
      #expect(!fault.description.contains("CANARY"))
      #expect(fault.fix?.contains("--hub_token_file") == true)
    }
    let file = try Self.command(
      ["sft", "--hub_token_file", "t"], ["NPROC_PER_NODE": "2"])
    #expect(file.arguments.suffix(2) == ["--hub_token_file", "t"])
    let places = SecretWords.places(
      ["hub_token"], in: ["p", "--hub_token=abc", "--hub_token", "abc", "--hub_token"])
    #expect(places.map(\.word) == [1, 3] && places.map(\.offset) == [12, 0])
  }

  static func process(
    _ words: [String], rank: Int = 0, _ out: Lines, _ err: Lines, _ pauses: Lines = Lines()
  )
    -> ProcessContext
  {
    let variables =
      rank > 0 ? ["OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "\(rank)"] : [:]
    return ProcessContext(
      programName: "megatron-sft", words: words, launch: LaunchEnvironment(variables),
      print: out.add, complain: err.add, pause: { pauses.add("\($0)") })
  }

  static let valid = ["--model", "m", "--dataset", "d", "--max_epochs", "1"]

  @Test("the body gets the options and its exit code is that of the program")
  func body() {
    let out = Lines()
    let err = Lines()
    let code = Programs.sft(Self.process(Self.valid + ["--seed", "9"], out, err)) {
      options throws(Fault) in
      options.schedule.seed == 9 ? .stoppedOnRequest : .internalError
    }
    #expect(code == .stoppedOnRequest && out.text.isEmpty && err.text.isEmpty)
  }

  @Test("a fault is printed once on standard error and gives its exit code")
  func fault() {
    let err = Lines()
    let code = Programs.sft(Self.process(Self.valid, Lines(), err)) { _ throws(Fault) in
      throw Fault(.missingFile, "no such rows", at: .file("rows.jsonl", line: 3))
    }
    #expect(code == .missingInput && err.text == "error FILE-001: rows.jsonl:3: no such rows\n")
  }

  @Test(
    "other ranks leave with the same code, and say what is wrong only after rank 0 could end the job"
  )
  func otherRank() {
    let out = Lines()
    let err = Lines()
    let pauses = Lines()
    let code = Programs.sft(Self.process(["--bad"], rank: 1, out, err, pauses)) { _ throws(Fault) in
      .done
    }
    #expect(code == .usage && out.text.isEmpty && pauses.all.count == 1)
    #expect(err.text.hasPrefix("rank 1: error "))
    #expect(
      Programs.sft(Self.process(["--help"], rank: 1, out, err)) { _ throws(Fault) in .internalError
      } == .done)
    #expect(out.text.isEmpty)
  }

  @Test("the name swift-sft means the form of swift sft")
  func swiftProgram() {
    var process = Self.process(
      ["--model", "m", "--dataset", "d", "--train_type", "full"], Lines(), Lines())
    process.programName = "swift-sft"
    let code = Programs.sft(process) { options throws(Fault) in
      options.form == .swift && options.swift.numTrainEpochs == 3 ? .done : .internalError
    }
    #expect(code == .done)
  }

  @Test("bench takes kinds before its options and refuses others")
  func bench() throws {
    func read(_ words: [String]) throws -> BenchOptions {
      guard case .run(let options) = try BenchOptions.read(words, launch: LaunchEnvironment([:]))
      else {
        throw Unexpected(what: "text")
      }
      return options
    }
    #expect(
      try read(["gemm", "attention", "--repeats", "3"]).bench.kinds == ["gemm", "attention"])
    #expect(try read([]).bench.kinds == ["all"])
    #expect(throws: Fault.self) { try read(["speed"]) }
  }
}
