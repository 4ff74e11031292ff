import Foundation
import Support
import Testing

@testable import Launcher

@Suite("Pages that are made from the tables")
struct DocumentTests {
  static let docs = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("docs").path

  static func printed(_ program: ProgramName, _ words: [String], swift: Bool = false) throws
    -> String
  {
    func text<Root>(_ reading: Reading<Root>) throws -> String {
      guard case .print(let text) = reading else { throw Unexpected(what: "options") }
      return text
    }
    let launch = LaunchEnvironment([:])
    switch program {
    case .sft, .pt:
      return try text(
        try TrainingOptions.read(words, program: program, launch: launch, swiftProgram: swift))
    case .export: return try text(try ExportOptions.read(words, launch: launch))
    case .infer: return try text(try InferOptions.read(words, launch: launch))
    case .parity: return try text(try ParityOptions.read(words, launch: launch))
    case .bench: return try text(try BenchOptions.read(words, launch: launch))
    }
  }

  /// Compares a page with what it should be; writes it where that is asked for.
  static func check(_ name: String, _ expected: String) throws {
    let path = docs + "/" + name
    if OutputTests.renew {
      try expected.write(toFile: path, atomically: true, encoding: .utf8)
    }
    let found = try String(contentsOfFile: path, encoding: .utf8)
    #expect(
      found == expected,
      "RENEW_SNAPSHOTS=1 swift test --filter LauncherTests writes docs/\(name) anew")
  }

  @Test("docs/flags.md holds the tables of all programs")
  func flags() throws {
    var parts = [
      """
      # Options

      Made from the option tables by `--dump_markdown true` of each program; a test holds this page
      up to date. `--help` shows the same, `--dump_options` gives it as JSON.

      """
    ]
    for program in ProgramName.allCases where program != .pt {
      parts.append(try Self.printed(program, ["--dump_markdown"]))
      guard program == .sft else { continue }
      parts.append("`megatron-pt` has the same options.\n")
      let swift = try Self.printed(.sft, ["--dump_markdown"], swift: true)
      let own = try #require(
        swift.components(separatedBy: "\n### ").first {
          $0.hasPrefix(OptionGroup.swiftForm.rawValue)
        })
      parts.append("### " + own)
    }
    try Self.check("flags.md", parts.joined(separator: "\n"))
  }

  @Test("docs/exit-codes.md holds every exit code and fault code")
  func exitCodes() throws {
    let page = try Self.printed(.sft, ["--explain", "all"])
    for code in FaultCatalog.codes {
      #expect(page.contains("| \(code.id) | \(code.exit.rawValue) |"))
    }
    try Self.check("exit-codes.md", page)
  }

  @Test("--dump_options of every program agrees with the flags of the reference")
  func dumps() throws {
    var dumps: [String: [String: JSONValue]] = [:]
    for (name, program, swift) in [
      ("megatron-sft", ProgramName.sft, false), ("swift-sft", .sft, true),
      ("megatron-export", .export, false), ("megatron-infer", .infer, false),
      ("megatron-pt", .pt, false), ("megatron-parity", .parity, false),
      ("megatron-bench", .bench, false),
    ] {
      let text = try Self.printed(program, ["--dump_options"], swift: swift)
      var rows: [String: JSONValue] = [:]
      for row in try JSONValue.parse(text).array ?? [] {
        let keys = Set(row.object?.keys ?? [])
        #expect(
          keys.isSuperset(of: ["name", "type", "default", "choices", "group", "effect"]),
          "\(name) \(row.write())")
        rows[try #require(row["name"]?.string)] = row
      }
      #expect(rows.count > 20, "\(name)")
      dumps[name] = rows
    }
    for flag in try ReferenceFlag.all() {
      let row = dumps[flag.program]?[flag.name]
      #expect(row != nil, "\(flag)")
      #expect(row?["default"] == flag.spec?.defaultValue.json, "\(flag)")
      #expect(row?["type"]?.string == flag.spec?.kind.name, "\(flag)")
    }
  }
}
