import Foundation
import Support

@testable import Launcher

/// Reads training options on top of what every run needs.
func train(
  _ words: [String],
  base: [String] = ["--model", "m", "--dataset", "d.jsonl", "--max_epochs", "1"],
  world: Int = 1, environment: [String: String] = [:], program: ProgramName = .sft
) throws -> TrainingOptions {
  var variables = environment
  if world > 1 {
    variables["OMPI_COMM_WORLD_SIZE"] = String(world)
    variables["OMPI_COMM_WORLD_RANK"] = "0"
  }
  let reading = try TrainingOptions.read(
    base + words, program: program, launch: LaunchEnvironment(variables))
  guard case .run(let options) = reading else { throw Unexpected(what: "text instead of options") }
  return options
}

/// The fault of a command line that must not be accepted.
func trainFault(
  _ words: [String],
  base: [String] = ["--model", "m", "--dataset", "d.jsonl", "--max_epochs", "1"],
  world: Int = 1, environment: [String: String] = [:]
) throws -> Fault {
  do {
    _ = try train(words, base: base, world: world, environment: environment)
  } catch let fault as Fault {
    return fault
  }
  throw Unexpected(what: "no fault for \(words)")
}

struct Unexpected: Error { let what: String }

/// A folder that is deleted with the value.
final class TemporaryFolder: Sendable {
  let path: String
  init() throws {
    path = NSTemporaryDirectory() + "launcher-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    let file = path + "/" + name
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    return file
  }
}

/// Files beside the tests.
enum Fixtures {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Fixtures").path

  static func text(_ name: String) throws -> String {
    try String(contentsOfFile: folder + "/" + name, encoding: .utf8)
  }
}
