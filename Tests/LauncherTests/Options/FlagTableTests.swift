import Foundation
import Support
import Testing

@testable import Launcher

/// One row of Fixtures/flags.json.
struct ReferenceFlag: Sendable, CustomStringConvertible {
  let program: String
  let section: String
  let name: String
  let type: String
  let defaultText: String
  /// Place among the rows of its section that share one default text ("0.9, 0.95, 1e-8").
  let place: Int
  var description: String { "\(program) \(section) \(name)" }

  static func all() throws -> [ReferenceFlag] {
    let json = try JSONValue.parse(try Fixtures.text("flags.json"))
    var flags: [ReferenceFlag] = []
    for item in json["flags"]?.array ?? [] {
      func field(_ key: String) -> String { item[key]?.string ?? "" }
      let shared = flags.filter {
        $0.section == field("section") && $0.defaultText == field("default")
          && field("default").contains(",")
      }
      flags.append(
        ReferenceFlag(
          program: field("program"), section: field("section"), name: field("name"),
          type: field("type"), defaultText: field("default"), place: shared.count))
    }
    return flags
  }

  var specs: [OptionSpec] {
    switch program {
    case "megatron-export": return ExportOptions.table.specs
    case "megatron-infer": return InferOptions.table.specs
    case "swift-sft": return TrainingOptions.swiftTable.specs
    default: return TrainingOptions.megatronTable.specs
    }
  }

  var spec: OptionSpec? { specs.first { $0.name == name } }

  /// Kinds that the written type allows; nil where the page says nothing definite.
  var allowedTypes: [String]? {
    switch type {
    case "", "choice", "pt|…": return nil
    case "int, choice": return nil  // two flags in one row
    case "list, str": return ["list", "str"]
    case "list (zh, en)": return ["list"]
    case "str/int": return ["str"]
    default: return [type]
    }
  }

  /// The default as JSON; nil where the page gives none of its own.
  var defaultValue: JSONValue? {
    var text = defaultText
    if text.isEmpty || text.hasPrefix("as ") { return nil }
    if name == "trainable_parameters" { return .array([]) }
    if name == "trainable_parameters_regex" { return .null }
    if text == "false,true,true (Megatron)" { text = "false, true, true" }
    if text == "false, −1, [tensorboard], false" || text == "false, true, true" || place > 0
      || text.contains(", ")
    {
      let parts = text.components(separatedBy: ", ")
      // vit: "0.1, 0.9/0.95, 1" gives two flags in its middle part.
      if section == "9", parts.count == 3 {
        text = ["0.1", "0.9", "0.95", "1"][place]
      } else {
        text = parts[min(place, parts.count - 1)]
      }
    }
    if text == "1 / 1" { text = "1" }
    if text == "save_steps / 500" { text = name == "save_steps" ? "500" : "–" }
    text = text.components(separatedBy: " → ")[0].replacing("−", with: "-")
    if text.hasSuffix(" (megatron)") { text = String(text.dropLast(11)) }
    if text.hasSuffix(" (train)") { text = String(text.dropLast(8)) }
    switch text {
    case "–", "– (hermes for Qwen)", "config", "from config.json", "output/<model name>":
      return .null
    case "reuse…": return .string("reuse_dataset_if_exists")
    case "true", "false": return .bool(text == "true")
    case "[]": return .array([])
    default: break
    }
    if text.hasPrefix("["), text.hasSuffix("]") {
      return .array([.string(String(text.dropFirst().dropLast()))])
    }
    if text.hasPrefix("\"") { return .string(String(text.dropFirst().dropLast())) }
    if let number = NumberSyntax.float(text) { return .number("\(number)") }
    return .string(text)
  }
}

@Suite("The option table against the flags of the reference")
struct FlagTableTests {
  @Test("every one of the 345 flags is in the table of its program")
  func names() throws {
    let flags = try ReferenceFlag.all()
    #expect(flags.count == 345)
    let missing = flags.filter { $0.spec == nil }
    #expect(missing.isEmpty, "missing: \(missing)")
  }

  @Test("types are those of the reference")
  func types() throws {
    for flag in try ReferenceFlag.all() {
      guard let spec = flag.spec, let allowed = flag.allowedTypes else { continue }
      // A choice may know more words than the reference, but none less.
      let words = Set(flag.type.split(separator: "|").map(String.init)).subtracting(["…"])
      let isChoice = flag.type.contains("|") && flag.type != "str|json"
      let fits =
        isChoice ? words.isSubset(of: Set(spec.choices)) : allowed.contains(spec.kind.name)
      #expect(fits, "\(flag): \(spec.kind.name) instead of \(flag.type)")
    }
  }

  @Test("defaults are those of the reference")
  func defaults() throws {
    var compared = 0
    for flag in try ReferenceFlag.all() {
      guard let spec = flag.spec, let expected = flag.defaultValue else { continue }
      compared += 1
      let found = spec.defaultValue.json
      let equal = found == expected || (found.double != nil && found.double == expected.double)
      #expect(equal, "\(flag): \(found.write()) instead of \(flag.defaultText)")
    }
    #expect(compared > 280)
  }

  @Test("every row has help that ends with a stop, and a reason where it is not used")
  func texts() {
    let all =
      TrainingOptions.megatronTable.specs + TrainingOptions.swiftTable.specs
      + ExportOptions.table.specs + InferOptions.table.specs + ParityOptions.table.specs
      + BenchOptions.table.specs
    for spec in all {
      #expect(spec.help.hasSuffix("."), "\(spec.name): \(spec.help)")
      switch spec.effect {
      case .used: break
      case .none(let why), .refused(let why):
        #expect(!why.isEmpty && !why.hasSuffix("."), "\(spec.name): \(why)")
      }
    }
  }

  @Test("defaults pass their own checks and are never refused, lora in the swift form excepted")
  func defaultsAreValid() {
    for spec in TrainingOptions.megatronTable.specs + ExportOptions.table.specs
      + InferOptions.table.specs + ParityOptions.table.specs + BenchOptions.table.specs
    where spec.defaultValue != .unset {
      #expect(spec.check?(spec.defaultValue) == nil, "\(spec.name)")
      #expect(spec.refusal(of: spec.defaultValue) == nil, "\(spec.name)")
    }
  }

  @Test("--dump_options gives name, type, default, choices, group and effect of every row")
  func dump() throws {
    guard
      case .print(let text) = try TrainingOptions.read(
        ["--dump_options"], launch: LaunchEnvironment([:]))
    else { throw Unexpected(what: "no text") }
    let rows = try JSONValue.parse(text).array ?? []
    #expect(rows.count == TrainingOptions.megatronTable.rows.count)
    for row in rows {
      for key in ["name", "type", "default", "choices", "group", "effect"] {
        #expect(row[key] != nil, "\(key) of \(row.write())")
      }
      #expect(["used", "none", "refused"].contains(row["effect"]?.string ?? ""))
    }
    let lr = rows.first { $0["name"]?.string == "min_lr" }
    #expect(lr?["type"]?.string == "float" && lr?["default"]?.double == 0)
  }

  @Test("no two rows and no alias share a name with a --no_ form")
  func clashes() {
    for spellings in [
      TrainingOptions.megatronTable.spellings, TrainingOptions.swiftTable.spellings,
    ] {
      #expect(Set(spellings).count == spellings.count)
    }
  }
}
