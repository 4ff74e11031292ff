import Checkpoint
import Foundation
import Parallel
import Support
import Tensor

@testable import Launcher

/// Trains the tiny dense model in this process, in a folder of its own.
struct TrainingRig: Sendable {
  let folder: TemporaryFolder
  var model: String { folder.path + "/model" }
  var save: String { folder.path + "/out" }

  init(_ kind: TinyModel.Kind = .dense) throws {
    folder = try TemporaryFolder()
    try TinyModel.write(kind, to: folder.path + "/model")
    let rows = (0..<8).map {
      #"{"messages": [{"role": "user", "content": "What is \#($0) + 1?"}, "#
        + #"{"role": "assistant", "content": "It is \#($0 + 1)."}]}"#
    }
    try folder.write("data.jsonl", rows.joined(separator: "\n") + "\n")
  }

  /// Options of a short run; `words` come last.
  func options(_ words: [String], environment: [String: String] = [:]) throws -> TrainingOptions {
    try train(
      words,
      base: [
        "--model", model, "--dataset", folder.path + "/data.jsonl", "--max_length", "64",
        "--global_batch_size", "2", "--num_workers", "0", "--threads", "1", "--save", save,
        "--log_interval", "1", "--show_samples", "0", "--logging_level", "ERROR",
      ], environment: environment)
  }

  func build(_ words: [String]) throws -> TrainingRun {
    try TrainingBuilder(options: try options(words), world: SelfWorld()).build()
  }

  /// Trains to the end.
  @discardableResult
  func run(_ words: [String]) throws -> TrainingRun {
    let run = try build(words)
    _ = try Trainer(run, signals: { [] }).train()
    return run
  }

  /// The fault of a run that must not begin.
  func fault(_ words: [String]) throws -> Fault {
    do {
      _ = try run(words)
    } catch let fault as Fault {
      return fault
    }
    throw Unexpected(what: "no fault for \(words)")
  }

  /// The training records of `logging.jsonl`.
  static func records(_ run: TrainingRun) throws -> [JSONValue] {
    let text = try String(contentsOfFile: run.directory + "/logging.jsonl", encoding: .utf8)
    return try text.split(separator: "\n").map { try JSONValue.parse(String($0)) }
      .filter { $0["lm loss"] != nil }
  }

  static func files(_ folder: String) -> Set<String> {
    Set((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [])
  }
}
