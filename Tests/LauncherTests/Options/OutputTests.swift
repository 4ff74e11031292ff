import Foundation
import Support
import Testing

@testable import Launcher

@Suite("What is printed about options")
struct OutputTests {
  /// Written anew when this variable is set; then look at the difference and commit it.
  static let renew = ProcessInfo.processInfo.environment["RENEW_SNAPSHOTS"] != nil

  static func help(_ program: ProgramName) throws -> String {
    func text<Root>(_ reading: Reading<Root>) throws -> String {
      guard case .print(let text) = reading else { throw Unexpected(what: "options") }
      return text
    }
    let launch = LaunchEnvironment([:])
    switch program {
    case .sft, .pt:
      return try text(try TrainingOptions.read(["--help"], program: program, launch: launch))
    case .export: return try text(try ExportOptions.read(["-h"], launch: launch))
    case .infer: return try text(try InferOptions.read(["--bad", "--help"], launch: launch))
    case .parity: return try text(try ParityOptions.read(["--help"], launch: launch))
    case .bench: return try text(try BenchOptions.read(["gemm", "--help"], launch: launch))
    }
  }

  @Test("--help reads as it was reviewed", arguments: ProgramName.allCases)
  func snapshots(program: ProgramName) throws {
    let found = try Self.help(program)
    let file = "help-\(program.rawValue).txt"
    if Self.renew {
      try found.write(toFile: Fixtures.folder + "/" + file, atomically: true, encoding: .utf8)
    }
    let reviewed = try Fixtures.text(file)
    #expect(found == reviewed, "run with RENEW_SNAPSHOTS=1, look at the difference, commit it")
  }

  @Test("--help names every option of the table and stays within 100 columns")
  func complete() throws {
    let text = try Self.help(.sft)
    for spec in TrainingOptions.megatronTable.specs {
      #expect(text.contains("\n  --\(spec.name) "), "\(spec.name)")
    }
    let wide = text.split(separator: "\n").filter { $0.count > 100 && !$0.hasPrefix("  --") }
    #expect(wide.isEmpty)
  }

  @Test("--print_config shows value and origin, secrets as ***")
  func printConfig() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("c.json", #"{"seed": 7}"#)
    let reading = try TrainingOptions.read(
      [
        "--model", "m", "--dataset", "d", "--max_epochs", "1", "--config", file, "--hub_token",
        "hf_CANARY", "--print_config", "--lr", "1e-3", "--packing",
      ], launch: LaunchEnvironment(["OMP_NUM_THREADS": "2"]))
    guard case .print(let text) = reading else { throw Unexpected(what: "options") }
    let lines = text.split(separator: "\n").map {
      $0.split(separator: " ", omittingEmptySubsequences: true).joined(separator: " ")
    }
    #expect(lines.contains("lr = 0.001 # command line"))
    #expect(lines.contains("seed = 7 # file \(file)"))
    #expect(lines.contains("threads = 2 # environment OMP_NUM_THREADS"))
    #expect(lines.contains("adam_beta2 = 0.95 # default"))
    #expect(lines.contains("eval_interval = 500 # follows from other options"))
    #expect(lines.contains("hub_token = *** # command line"))
    #expect(!text.contains("CANARY"))
  }

  @Test("--explain tells title, exit code and meaning; an unknown code names the nearest")
  func explain() throws {
    guard
      case .print(let text) = try TrainingOptions.read(
        ["--explain", "opt-101"], launch: LaunchEnvironment([:]))
    else { throw Unexpected(what: "options") }
    #expect(text.contains("OPT-101") && text.contains("exit code 2"))
    let fault = try trainFault(["--explain", "OPT-1O1"], base: [])
    #expect(fault.code == .unknownFaultCode && fault.fix?.contains("OPT-101") == true)
  }

  @Test("a secret never reaches a fault")
  func secretInFault() throws {
    let fault = try trainFault(["--hub_token", "hf_CANARY", "--unknown_option", "1"])
    #expect(!fault.description.contains("CANARY"))
  }

  @Test("the catalogue of codes holds every code of the sources")
  func catalogue() throws {
    let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Sources")
    let pattern = /FaultCode\(\s*"(?<id>[A-Z]+-[0-9]+)"/
    var found: [String: String] = [:]
    let files = FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil)
    while let file = files?.nextObject() as? URL {
      guard file.pathExtension == "swift" else { continue }
      let text = try String(contentsOf: file, encoding: .utf8)
      for match in text.matches(of: pattern) {
        let id = String(match.output.id)
        #expect(
          found[id] == nil, "\(id) is declared in \(file.lastPathComponent) and \(found[id] ?? "")")
        found[id] = file.lastPathComponent
      }
    }
    let known = Set(FaultCatalog.codes.map(\.id))
    let missing = found.filter { !known.contains($0.key) }
    #expect(missing.isEmpty, "add to FaultCatalog: \(missing)")
    #expect(known.count == FaultCatalog.codes.count && known.isSubset(of: Set(found.keys)))
  }
}
