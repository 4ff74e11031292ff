import Support

/// What an option does in this program.
public enum OptionEffect: Sendable, Equatable {
  case used
  /// Accepted and recorded, but without meaning on a CPU; listed once at the start of a run.
  case none(why: String)
  /// Any value that would switch it on is an error; the sentence says why.
  case refused(why: String)

  /// The word in `--dump_options`.
  public var name: String {
    switch self {
    case .used: return "used"
    case .none: return "none"
    case .refused: return "refused"
    }
  }
}

/// Headings of `--help`, in this order.
public enum OptionGroup: String, Sendable, CaseIterable {
  case data = "Data"
  case template = "Chat template and loss"
  case model = "Model"
  case architecture = "Architecture"
  case checkpoint = "Loading and saving"
  case parallel = "Parallel layout"
  case schedule = "Batch, schedule, learning rate"
  case optimizer = "Optimizer"
  case precision = "Precision"
  case recompute = "Recomputation"
  case attention = "Attention and fusions"
  case experts = "Mixture of experts"
  case tuner = "What is trained"
  case logging = "Logging and evaluation"
  case generation = "Generation"
  case export = "Conversion"
  case hub = "Hub"
  case parity = "Comparison with a reference"
  case bench = "Measurement"
  case swiftForm = "The form of swift sft"
  case own = "Options of this program (not in the reference)"
  case inert = "Accepted for compatibility"
}

/// Everything that is known about an option apart from where its value is stored.
public struct OptionSpec: Sendable {
  public let name: String
  public let kind: OptionKind
  public var defaultValue: OptionValue
  public let help: String
  public var group = OptionGroup.inert
  /// What stands in for an unset value, for people.
  public var whenUnset: String?
  public var effect = OptionEffect.used
  /// Never shown, never written to a file.
  public var isSecret = false
  /// `~` is expanded and the path made absolute.
  public var isPath = false
  /// Environment variable that fills the option when no flag does.
  public var environment: String?
  /// Words of a choice that are known but not supported, and why.
  public var refusedWords: (words: [String], why: String)?
  /// Returns what is wrong with a value, or nil.
  public var check: (@Sendable (OptionValue) -> String?)?

  /// The words of a choice, else empty.
  public var choices: [String] { kind.choices }

  /// Whether the value asks for something, compared with the default.
  public func isActive(_ value: OptionValue) -> Bool {
    if value == defaultValue || value == .unset { return false }
    if value == .bool(false) { return defaultValue == .bool(true) }
    return true
  }

  /// Why the value is refused, or nil when it is not.
  func refusal(of value: OptionValue) -> String? {
    if case .refused(let why) = effect, isActive(value) { return why }
    if case .text(let word) = value, let refusedWords, refusedWords.words.contains(word) {
      return refusedWords.why
    }
    return nil
  }

  /// `--no_NAME` exists.
  var canBeNegated: Bool { kind == .bool && defaultValue == .bool(true) }
}

/// One row of the option table: the declaration from which parser, help, `args.json` and
/// documentation are made, and the place in `Root` that holds the value.
public struct Option<Root: Sendable>: Sendable {
  public var spec: OptionSpec
  /// nil: the value is recorded only, nothing in the program reads it.
  let read: (@Sendable (Root) -> OptionValue)?
  /// - Returns: false when the value is of another kind.
  let assign: @Sendable (OptionValue, inout Root) -> Bool

  /// A row whose value is stored at `path`; type and choices are those of the property.
  public init<Value: OptionConvertible>(
    _ path: WritableKeyPath<Root, Value> & Sendable, _ name: String, _ help: String
  ) {
    spec = OptionSpec(name: name, kind: Value.optionKind, defaultValue: .unset, help: help)
    read = { $0[keyPath: path].optionValue }
    assign = { value, root in
      guard let converted = Value(optionValue: value) else { return false }
      root[keyPath: path] = converted
      return true
    }
  }

  /// A row that nothing reads: accepted without effect, or refused.
  public init(
    recorded name: String, _ kind: OptionKind, _ defaultValue: OptionValue, _ help: String
  ) {
    spec = OptionSpec(name: name, kind: kind, defaultValue: defaultValue, help: help)
    read = nil
    assign = { _, _ in true }
  }

  /// A row that nothing reads and that has no default.
  public init(recorded name: String, _ kind: OptionKind, _ help: String) {
    self.init(recorded: name, kind, .unset, help)
  }

  private init(
    spec: OptionSpec, read: (@Sendable (Root) -> OptionValue)?,
    assign: @escaping @Sendable (OptionValue, inout Root) -> Bool
  ) {
    self.spec = spec
    self.read = read
    self.assign = assign
  }

  /// The same row of a record that holds `Root` at `path`.
  func within<Outer: Sendable>(_ path: WritableKeyPath<Outer, Root> & Sendable) -> Option<Outer> {
    let assign = self.assign
    var outerRead: (@Sendable (Outer) -> OptionValue)?
    if let read { outerRead = { outer in read(outer[keyPath: path]) } }
    return Option<Outer>(
      spec: spec, read: outerRead,
      assign: { value, outer in assign(value, &outer[keyPath: path]) })
  }
}

// MARK: - Facets of a row, in the order they are usually written

extension Option {
  private func with(_ change: (inout OptionSpec) -> Void) -> Option {
    var copy = self
    change(&copy.spec)
    return copy
  }

  func unset(_ meaning: String) -> Option { with { $0.whenUnset = meaning } }
  func secret() -> Option { with { $0.isSecret = true } }
  func path() -> Option { with { $0.isPath = true } }
  func environment(_ variable: String) -> Option { with { $0.environment = variable } }
  func group(_ group: OptionGroup) -> Option { with { spec in spec.group = group } }
  func noEffect(_ why: String) -> Option { with { $0.effect = .none(why: why) } }
  func refused(_ why: String) -> Option { with { $0.effect = .refused(why: why) } }

  /// Another default in one program; the caller stores it in the record too.
  func defaulting(to value: OptionValue) -> Option { with { $0.defaultValue = value } }

  func check(_ check: @escaping @Sendable (OptionValue) -> String?) -> Option {
    var copy = self
    let before = spec.check
    copy.spec.check = { value in
      if let text = before?(value) { return text }
      return check(value)
    }
    return copy
  }

  func atLeast(_ least: Int) -> Option {
    check {
      guard case .int(let value) = $0, value < least else { return nil }
      return "must be at least \(least), got \(value)"
    }
  }

  func atLeast(_ least: Double) -> Option {
    check {
      guard case .float(let value) = $0, !(value >= least && value.isFinite) else { return nil }
      return "must be a finite number of at least \(OptionValue.float(least).shown), got \(value)"
    }
  }

  func between(_ least: Double, _ most: Double) -> Option {
    check {
      guard case .float(let value) = $0, !(value >= least && value <= most) else { return nil }
      return "must lie between \(least) and \(most), got \(value)"
    }
  }

  func oneOf(_ words: [String]) -> Option {
    check {
      guard case .text(let word) = $0, !words.contains(word) else { return nil }
      return "must be one of \(words.joined(separator: ", ")), got \"\(word)\""
    }
  }

  /// Words of the choices that are known but not supported.
  func refusing(_ words: [String], _ why: String) -> Option {
    with { $0.refusedWords = (words, why) }
  }
}

extension Array {
  /// The rows as rows of a larger record that keeps theirs at `path`.
  func rows<Root: Sendable, Outer: Sendable>(
    in path: WritableKeyPath<Outer, Root> & Sendable
  ) -> [Option<Outer>] where Element == Option<Root> {
    map { $0.within(path) }
  }

  /// The rows of a program that takes them over without reading them.
  func unread<Root: Sendable>(_ why: String) -> [Option<Root>] where Element == Option<Root> {
    map { $0.spec.effect == .used ? $0.noEffect(why) : $0 }
  }

  /// Puts the rows under a heading.
  func under<Root: Sendable>(_ group: OptionGroup) -> [Option<Root>] where Element == Option<Root> {
    map { $0.group(group) }
  }
}
