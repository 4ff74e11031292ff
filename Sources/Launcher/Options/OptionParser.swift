import Foundation
import Support

/// Reads the words of a command line by an option table.
///
/// The rules are those of Python's argparse as the reference uses it: both spellings of a name,
/// unique prefixes, bare switches, lists up to the next option, the last of several wins.
struct OptionParser<Root: Sendable> {
  let table: OptionTable<Root>
  /// The list option that takes words before the first option, if the program has one.
  var positional: String?

  /// What came of a command line; mistakes are collected, not thrown.
  struct Outcome: Sendable {
    var parsed = ParsedOptions()
    var complaints = Complaints()
    var warnings: [String] = []
    /// Under which name each option was written, for messages and for telling two spellings apart.
    var spelled: [String: [String]] = [:]
  }

  func parse(_ words: [String], environment: [String: String] = [:]) -> Outcome {
    var outcome = Outcome()
    if let file = words.first, file.lowercased().hasSuffix(".json"), positional == nil {
      if words.count > 1 {
        outcome.complaints.add(
          .unknownOption, nil,
          "no words may follow the configuration file \(file): \(words.dropFirst().joined(separator: " "))"
        )
      }
      readFile(PathText.expanded(file), into: &outcome)
    } else {
      readWords(words, into: &outcome)
      if case .text(let file)? = outcome.parsed["config"] {
        readFile(PathText.expanded(file), into: &outcome)
      }
    }
    readEnvironment(environment, into: &outcome)
    return outcome
  }

  // MARK: Words

  private func readWords(_ words: [String], into outcome: inout Outcome) {
    var unknown: [String] = []
    var at = 0
    if let positional {
      var values: [String] = []
      while at < words.count, !isOption(words[at]) {
        values.append(words[at])
        at += 1
      }
      if !values.isEmpty { outcome.parsed.set(positional, .list(values), .commandLine) }
    }
    while at < words.count {
      let word = words[at]
      at += 1
      guard isOption(word) else {
        unknown.append("the word \"\(word)\" belongs to no option")
        continue
      }
      let (name, inline) = split(word)
      switch find(name) {
      case .unknown:
        unknown.append(unknownText(word, name))
        if inline == nil { skipValues(words, &at) }
      case .ambiguous(let names):
        outcome.complaints.add(
          .unknownOption, nil, "\(word) could be \(names.map { "--\($0)" }.joined(separator: ", "))"
        )
        skipValues(words, &at)
      case .negated(let row):
        outcome.spelled[row.name, default: []].append(name)
        if let inline {
          outcome.complaints.add(
            .badOptionValue, name, "takes no value, got \"\(inline)\"")
        }
        outcome.parsed.set(row.name, .bool(false), .commandLine)
      case .row(let row, let spelling):
        outcome.spelled[row.name, default: []].append(spelling)
        take(row, spelling, inline: inline, words, &at, into: &outcome)
      }
    }
    report(unknown, into: &outcome)
    reportTwins(outcome.spelled, from: "", into: &outcome)
  }

  /// An option written under its name and an alias on one line contradicts itself.
  private func reportTwins(
    _ spelled: [String: [String]], from source: String, into outcome: inout Outcome
  ) {
    for (row, names) in spelled.sorted(by: { $0.key < $1.key }) {
      let distinct = Set(names.filter { $0 == row || table.aliases[$0] != nil })
      guard distinct.count > 1 else { continue }
      outcome.complaints.add(
        .optionsDisagree, nil,
        source + distinct.sorted().map { "--\($0)" }.joined(separator: " and ")
          + " are two spellings of one quantity; give one")
    }
  }

  private func report(_ unknown: [String], into outcome: inout Outcome) {
    let tolerant = outcome.parsed["ignore_args_error"] == .bool(true)
    for text in unknown {
      if tolerant {
        outcome.warnings.append(text)
      } else {
        outcome.complaints.add(.unknownOption, nil, text)
      }
    }
  }

  /// Reads the value words of one option and stores the value.
  private func take(
    _ row: OptionSpec, _ spelling: String, inline: String?, _ words: [String], _ at: inout Int,
    into outcome: inout Outcome
  ) {
    var values: [String] = []
    if let inline {
      values = [inline]
    } else if row.kind.isList {
      while at < words.count, !isOption(words[at]) {
        values.append(words[at])
        at += 1
      }
    } else if at < words.count, !isOption(words[at]) {
      values = [words[at]]
      at += 1
    }
    if values.isEmpty {
      guard row.kind == .bool else {
        outcome.complaints.add(.badOptionValue, spelling, "needs a value (\(row.kind.name))")
        return
      }
      values = ["true"]
    }
    do throws(ValueReader.Failure) {
      outcome.parsed.set(row.name, try ValueReader.value(row.kind, values), .commandLine)
    } catch {
      outcome.complaints.add(
        .badOptionValue, spelling, row.isSecret ? "the value cannot be read" : error.text)
    }
  }

  private func skipValues(_ words: [String], _ at: inout Int) {
    while at < words.count, !isOption(words[at]) { at += 1 }
  }

  /// Whether argparse would take the word for an option: it begins with a dash, is no negative
  /// number, and has no blank in it.
  private func isOption(_ word: String) -> Bool {
    guard word.hasPrefix("-"), word.count > 1 else { return false }
    if NumberSyntax.float(word) != nil { return false }
    let name = word.prefix { $0 != "=" }
    return !name.contains(" ")
  }

  private func split(_ word: String) -> (name: String, value: String?) {
    let body = word.drop { $0 == "-" }
    let name = OptionName.normal(body.prefix { $0 != "=" })
    guard let equals = body.firstIndex(of: "=") else { return (name, nil) }
    return (name, String(body[body.index(after: equals)...]))
  }

  // MARK: Names

  private enum Match {
    case row(OptionSpec, spelling: String)
    case negated(OptionSpec)
    case ambiguous([String])
    case unknown
  }

  private func find(_ name: String) -> Match {
    if name == "h" { return find("help") }
    if let match = exactly(name) { return match }
    guard !name.isEmpty else { return .unknown }
    let candidates = table.spellings.filter { $0.hasPrefix(name) }
    // Two spellings of one row are no ambiguity.
    var targets: [String: String] = [:]
    for candidate in candidates { targets[table.aliases[candidate] ?? candidate] = candidate }
    if targets.count > 1 { return .ambiguous(candidates.sorted()) }
    return targets.values.first.flatMap { exactly($0) } ?? .unknown
  }

  private func exactly(_ name: String) -> Match? {
    if let spec = table.spec(name) { return .row(spec, spelling: name) }
    if name.hasPrefix("no_"), let spec = table.spec(String(name.dropFirst(3))), spec.canBeNegated {
      return .negated(spec)
    }
    return nil
  }

  private func unknownText(_ word: String, _ name: String) -> String {
    let shown = word.prefix { $0 != "=" }
    return "\(shown) is not an option"
      + EditDistance.hint(name, among: table.spellings + table.neighbours) { "--\($0)" }
  }

  // MARK: Files and environment

  private func readFile(_ path: String, into outcome: inout Outcome) {
    guard let content = FileManager.default.contents(atPath: path) else {
      outcome.complaints.add(.missingFile, nil, "the configuration file \(path) cannot be read")
      return
    }
    let json: JSONValue
    do {
      json = try JSONValue.parse(String(decoding: content, as: UTF8.self))
    } catch {
      outcome.complaints.add(.badOptionValue, nil, "\(path) is not valid JSON: \(error)")
      return
    }
    guard let object = json.object else {
      outcome.complaints.add(
        .badOptionValue, nil, "\(path) must hold an object {option: value}, not \(json.kind)")
      return
    }
    var fromFile = ParsedOptions()
    var spelled: [String: [String]] = [:]
    for (key, value) in object.members {
      let name = OptionName.normal(key.drop { $0 == "-" })
      guard let spec = table.spec(name) else {
        outcome.complaints.add(
          .unknownOption, nil,
          "\(path): \"\(key)\" is not an option"
            + EditDistance.hint(name, among: table.rows.map(\.spec.name)) { "\"\($0)\"" })
        continue
      }
      do throws(ValueReader.Failure) {
        guard let read = try ValueReader.value(spec.kind, json: value) else { continue }
        spelled[spec.name, default: []].append(name)
        fromFile.set(spec.name, read, .file(path))
      } catch {
        outcome.complaints.add(.badOptionValue, nil, "\(path): \"\(key)\": \(error.text)")
      }
    }
    reportTwins(spelled, from: path + ": ", into: &outcome)
    outcome.spelled.merge(spelled) { $0 + $1 }
    outcome.parsed.fill(from: fromFile)
  }

  private func readEnvironment(_ environment: [String: String], into outcome: inout Outcome) {
    for spec in table.specs {
      guard let variable = spec.environment, let text = environment[variable], !text.isEmpty,
        outcome.parsed.given[spec.name].map({ $0.origin != .commandLine }) ?? true
      else { continue }
      do throws(ValueReader.Failure) {
        outcome.parsed.set(
          spec.name, try ValueReader.value(spec.kind, [text]), .environment(variable))
      } catch {
        outcome.complaints.add(
          .badOptionValue, nil,
          "environment variable \(variable): "
            + (spec.isSecret ? "the value cannot be read" : error.text))
      }
    }
  }
}

/// Spelling of names.
enum OptionName {
  /// Underscores for dashes.
  static func normal(_ name: Substring) -> String {
    String(name.map { $0 == "-" ? "_" : $0 })
  }
}
