import Support

/// The text of `--print_config`: every value and where it came from.
enum ConfigPrinter {
  static func text<Root>(
    _ table: OptionTable<Root>, _ root: Root, _ parsed: ParsedOptions
  ) -> String {
    let rows = table.rows.filter { !metaOptions.contains($0.spec.name) }
    let name = rows.map { $0.spec.name.count }.max() ?? 0
    let shown = rows.map { self.shown($0, root, parsed) }
    let value = min(40, shown.map(\.value.count).max() ?? 0)
    return zip(rows, shown).map { row, cell in
      pad(row.spec.name, name) + " = " + pad(cell.value, value) + "  # " + cell.origin
    }.joined(separator: "\n") + "\n"
  }

  /// Options that act while the line is read and are no settings of the run.
  static let metaOptions: Set<String> = [
    "help", "print_config", "dump_options", "dump_markdown", "explain", "config",
  ]

  private static func shown<Root>(
    _ row: Option<Root>, _ root: Root, _ parsed: ParsedOptions
  ) -> (value: String, origin: String) {
    let given = parsed[row.spec.name]
    let value = row.read?(root) ?? given ?? row.spec.defaultValue
    if row.spec.isSecret, value != .unset { return ("***", parsed.origin(row.spec.name).shown) }
    var expected = given ?? row.spec.defaultValue
    if row.spec.isPath, case .text(let path) = expected {
      expected = .text(PathText.absolute(path))
    }
    guard value == expected else { return (value.shown, "follows from other options") }
    return (value.shown, parsed.origin(row.spec.name).shown)
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
}
