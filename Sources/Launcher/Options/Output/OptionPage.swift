import Support

/// The option table of a program as Markdown: the parts of docs/flags.md.
enum OptionPage {
  static func text<Root>(_ definition: ProgramDefinition<Root>, title: String? = nil) -> String {
    var lines = ["## \(title ?? definition.name.binary)", "", definition.name.summary + "."]
    for group in OptionGroup.allCases {
      let specs = definition.table.specs.filter { $0.group == group }
      guard !specs.isEmpty else { continue }
      lines += [
        "", "### \(group.rawValue)", "", "| option | type | default | meaning |",
        "| --- | --- | --- | --- |",
      ]
      lines += specs.map { row($0, definition.table) }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func row<Root>(_ spec: OptionSpec, _ table: OptionTable<Root>) -> String {
    let names = [spec.name] + table.aliases.filter { $0.value == spec.name }.map(\.key).sorted()
    var text = spec.help
    if let variable = spec.environment { text += " Environment: `\(variable)`." }
    switch spec.effect {
    case .used: break
    case .none(let why): text += " **No effect**: \(why)."
    case .refused(let why): text += " **Refused**: \(why)."
    }
    if let refused = spec.refusedWords {
      text += " Refused: \(refused.words.joined(separator: ", ")) (\(refused.why))."
    }
    let standard = spec.whenUnset ?? (spec.defaultValue == .unset ? "" : spec.defaultValue.shown)
    let cells = [names.map { "`\($0)`" }.joined(separator: ", "), spec.kind.name, standard, text]
    return "| " + cells.map(cell).joined(separator: " | ") + " |"
  }

  /// A bar would end the cell; angle brackets would be taken for a tag.
  private static func cell(_ text: String) -> String {
    text.replacing("|", with: "\\|").replacing("<", with: "&lt;")
  }
}
