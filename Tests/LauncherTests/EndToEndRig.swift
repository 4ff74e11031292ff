import Foundation
import Support
import Synchronization

@testable import Launcher

/// What a finished program left.
struct Finished: Sendable {
  let status: Int32
  /// Standard output and standard error.
  let text: String

  /// Lines that begin a fault.
  var faults: [Substring] { text.split(separator: "\n").filter { $0.hasPrefix("error ") } }
}

/// Runs the built programs on tiny models.
enum EndToEnd {
  private static func executable(_ name: String, in folders: [String]) -> String? {
    folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  static let mpirun: String? = {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    return executable("mpirun", in: path.split(separator: ":").map(String.init))
  }()

  /// The folder of the built products: that of the test bundle's own executable.
  static let products: String? = {
    let own =
      [
        CommandLine.arguments[0],
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "",
      ] + CommandLine.arguments.filter { $0.hasSuffix(".xctest") }
    return own.map { URL(filePath: $0).deletingLastPathComponent().path }
      .first { executable("megatron-sft", in: [$0]) != nil }
  }()

  static var hasPrograms: Bool { products != nil }
  static var hasRanks: Bool { products != nil && mpirun != nil }

  /// - Parameters:
  ///   - ranks: above 1 under mpirun.
  ///   - variables: added to the environment.
  static func run(
    _ program: String, _ words: [String], ranks: Int = 1, in folder: TemporaryFolder,
    variables: [String: String] = [:]
  ) throws -> Finished {
    guard let products else { throw Unexpected(what: "the programs are not built") }
    var line = ["timeout", "-k", "5", "60"]
    if ranks > 1 {
      guard let mpirun else { throw Unexpected(what: "there is no mpirun") }
      line += [mpirun, "--oversubscribe", "--bind-to", "none", "-n", "\(ranks)"]
    }
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = line + ["\(products)/\(program)"] + words
    process.currentDirectoryURL = URL(filePath: folder.path)
    process.environment = environment(folder).merging(variables) { $1 }
    return try finish(process)
  }

  /// Runs a script that finds the programs on its path.
  static func script(
    _ path: String, _ words: [String], in folder: TemporaryFolder
  ) throws -> Finished {
    guard let products else { throw Unexpected(what: "the programs are not built") }
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = ["timeout", "-k", "5", "60", "sh", path] + words
    process.currentDirectoryURL = URL(filePath: folder.path)
    var values = environment(folder)
    values["PATH"] = products + ":" + (values["PATH"] ?? "")
    process.environment = values
    return try finish(process)
  }

  private static func finish(_ process: Process) throws -> Finished {
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Finished(
      status: process.terminationStatus, text: String(decoding: data, as: UTF8.self))
  }

  private static func environment(_ folder: TemporaryFolder) -> [String: String] {
    let foreign = ["OMPI_", "PMIX_", "PRTE_", "NPROC_PER_NODE", "NNODES", "NODE_RANK", "LOG_LEVEL"]
    var values = ProcessInfo.processInfo.environment.filter { entry in
      // A test run inside a job must not make the new job believe it is a part of it.
      !foreign.contains { entry.key.hasPrefix($0) }
    }
    values["OMPI_ALLOW_RUN_AS_ROOT"] = "1"
    values["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    values["OMP_NUM_THREADS"] = "1"
    values["SWIFT_BACKTRACE"] = "enable=no"
    values["XDG_CACHE_HOME"] = folder.path + "/cache"
    return values
  }
}

/// A folder with a tiny model and rows, and the flags to train on them.
struct TinyJob {
  let folder: TemporaryFolder
  let model: String
  let rows: String

  init(_ kind: TinyModel.Kind, rowCount: Int = 24) throws {
    folder = try TemporaryFolder()
    model = folder.path + "/model"
    try TinyModel.write(kind, to: model)
    rows = try folder.write("rows.jsonl", TinyJob.text(rowCount))
  }

  static func text(_ count: Int) -> String {
    (0..<count).map { i in
      let question = "Say " + String(repeating: "on and ", count: i % 4) + "\(i)"
      return #"{"messages": [{"role": "user", "content": "\#(question)"}, "#
        + #"{"role": "assistant", "content": "Number \#(i * 7 % 31)."}]}"# + "\n"
    }.joined()
  }

  /// Few short steps; words that are added win.
  func flags(_ words: [String] = [], save: String = "run") -> [String] {
    [
      "--model", model, "--dataset", rows, "--save", "\(folder.path)/\(save)", "--max_length", "96",
      "--split_dataset_ratio", "0", "--global_batch_size", "4", "--train_iters", "4", "--lr",
      "1e-3", "--log_interval", "1", "--show_samples", "0", "--dataset_num_proc", "1",
      "--num_workers", "1", "--dataloader_type", "single", "--no_save_optim", "true",
      "--no_save_rng", "true", "--add_version", "false",
    ] + words
  }

  /// Objects of the run's `logging.jsonl`.
  func records(_ run: String = "run") throws -> [JSONObject] {
    let text = try String(contentsOfFile: "\(folder.path)/\(run)/logging.jsonl", encoding: .utf8)
    return try text.split(separator: "\n").compactMap { try JSONValue.parse(String($0)).object }
  }

  func run(
    _ words: [String] = [], save: String = "run", program: String = "megatron-sft", ranks: Int = 1,
    variables: [String: String] = [:]
  ) throws -> Finished {
    try EndToEnd.run(
      program, flags(words, save: save), ranks: ranks, in: folder, variables: variables)
  }
}

extension [JSONObject] {
  /// The training losses, as written.
  var losses: [Double] { compactMap { $0["lm loss"]?.double } }
}
