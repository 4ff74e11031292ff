import Support

/// What a command line asks for.
public enum Reading<Root: Sendable>: Sendable {
  /// Run with these options.
  case run(Root)
  /// Print this text and leave with exit code 0.
  case print(String)
}

/// Reads the options of a program: words, files and environment, then derived values, then rules.
struct OptionReader<Root: ProgramOptions> {
  let definition: ProgramDefinition<Root>
  let launch: LaunchEnvironment

  /// - Throws: one fault with all mistakes; `OPT-…`, or the more special code they share.
  func read(_ words: [String]) throws(Fault) -> Reading<Root> {
    let table = definition.table
    var outcome = OptionParser(table: table, positional: definition.positional)
      .parse(words, environment: launch.variables)
    if let text = try request(outcome.parsed) { return .print(text) }
    var complaints = outcome.complaints
    complaints.add(launch.complaints)
    try throwIfAny(complaints, also: refusals(outcome.parsed))

    definition.reload(&outcome.parsed, launch, &complaints)
    var root = definition.defaults
    root.report.program = definition.name
    root.report.launch = launch
    root.report.world = launch.world
    root.report.warnings = outcome.warnings.map { $0 + " (ignored)" }
    for spec in table.specs where spec.isSecret && outcome.parsed.origin(spec.name) == .commandLine
    {
      root.report.warnings.append(
        "--\(spec.name) on the command line can be read by other users of the machine; "
          + "use --\(spec.name)_file or a variable of the environment")
    }
    definition.readExtra(&outcome.parsed, &root, &complaints)
    checkValues(outcome.parsed, &complaints)
    complaints.add(refusals(outcome.parsed))
    store(outcome.parsed, in: &root)
    root.report.parsed = outcome.parsed
    root.report.inert = inert(outcome.parsed)
    definition.derive(&root, &complaints)
    for rule in definition.rules {
      if let text = rule.check(root) { complaints.add(rule.code, nil, text) }
    }
    try throwIfAny(complaints)
    if outcome.parsed["print_config"] == .bool(true) {
      return .print(ConfigPrinter.text(table, root, outcome.parsed))
    }
    return .run(root)
  }

  /// The text of `--help`, `--dump_options`, `--dump_markdown` or `--explain`, which need no valid options.
  private func request(_ parsed: ParsedOptions) throws(Fault) -> String? {
    if parsed["help"] == .bool(true) { return HelpPrinter.text(definition) }
    if parsed["dump_options"] == .bool(true) { return OptionDump.text(definition.table) }
    if parsed["dump_markdown"] == .bool(true) { return OptionPage.text(definition) }
    if case .text(let code)? = parsed["explain"] { return try FaultCatalog.explain(code) }
    return nil
  }

  private func throwIfAny(_ complaints: Complaints, also more: Complaints? = nil) throws(Fault) {
    // Refusals alone wait for the rules, so that all are reported together.
    guard !complaints.isEmpty else { return }
    var all = complaints
    if let more { all.add(more) }
    if let fault = all.fault(program: definition.name.binary) { throw fault }
  }

  /// The checks of single rows.
  private func checkValues(_ parsed: ParsedOptions, _ complaints: inout Complaints) {
    for spec in definition.table.specs {
      guard let value = parsed[spec.name], let why = spec.check?(value) else { continue }
      complaints.add(.badOptionValue, spec.name, why)
    }
  }

  private func refusals(_ parsed: ParsedOptions) -> Complaints {
    var complaints = Complaints()
    for spec in definition.table.specs {
      guard let value = parsed[spec.name], let why = spec.refusal(of: value) else { continue }
      let shown = spec.isSecret ? "***" : value.shown
      complaints.add(.refusedOption, spec.name, "\(shown) is refused: \(why)")
    }
    return complaints
  }

  private func store(_ parsed: ParsedOptions, in root: inout Root) {
    for row in definition.table.rows {
      guard var value = parsed[row.spec.name] else { continue }
      if row.spec.isPath, case .text(let path) = value { value = .text(PathText.absolute(path)) }
      let stored = row.assign(value, &root)
      assert(stored, "the value of \(row.spec.name) does not fit its property")
    }
  }

  private func inert(_ parsed: ParsedOptions) -> [(name: String, why: String)] {
    definition.table.specs.compactMap { spec in
      guard case .none(let why) = spec.effect, parsed.isGivenByUser(spec.name) else { return nil }
      return (spec.name, why)
    }
  }
}
