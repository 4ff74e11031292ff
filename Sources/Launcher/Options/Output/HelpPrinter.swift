/// The text of `--help`, made from the option table.
enum HelpPrinter {
  private static let width = 100
  private static let indent = 6

  static func text<Root>(_ definition: ProgramDefinition<Root>) -> String {
    var lines = ["\(definition.name.binary): \(definition.name.summary)", "", "Usage:"]
    lines += definition.name.usage.map { "  " + $0 }
    lines += [
      "",
      "Names may be written with - or _, values as --name value or --name=value. Lists take all",
      "words up to the next option. --no_NAME switches off what is on by default.",
    ]
    for group in OptionGroup.allCases {
      let specs = definition.table.specs.filter { $0.group == group }
      guard !specs.isEmpty else { continue }
      lines += ["", group.rawValue + ":"]
      for spec in specs { lines += self.lines(spec, aliases: aliases(spec, definition.table)) }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func aliases<Root>(_ spec: OptionSpec, _ table: OptionTable<Root>) -> [String] {
    table.aliases.filter { $0.value == spec.name }.map(\.key).sorted()
  }

  private static func lines(_ spec: OptionSpec, aliases: [String]) -> [String] {
    var text = spec.help
    if let meaning = spec.whenUnset {
      text += " Default: \(meaning)."
    } else if spec.defaultValue != .unset, spec.name != "help" {
      text += " Default: \(spec.defaultValue.shown)."
    }
    if let variable = spec.environment { text += " Environment: \(variable)." }
    if !aliases.isEmpty {
      text += " Also: " + aliases.map { "--\($0)" }.joined(separator: ", ") + "."
    }
    switch spec.effect {
    case .used: break
    case .none(let why): text += " No effect: \(why)."
    case .refused(let why): text += " Refused: \(why)."
    }
    if let refused = spec.refusedWords {
      text += " Refused: \(refused.words.joined(separator: ", ")) (\(refused.why))."
    }
    return ["  --\(spec.name) \(spec.kind.placeholder)"] + wrapped(text)
  }

  private static func wrapped(_ text: String) -> [String] {
    let margin = String(repeating: " ", count: indent)
    var lines: [String] = []
    var line = margin
    for word in text.split(separator: " ") {
      if line.count + word.count + 1 > width, line.count > indent {
        lines.append(line)
        line = margin
      }
      line += (line.count > indent ? " " : "") + word
    }
    return lines + [line]
  }
}
