import Support

/// The typed options of one program: a record, its table, and the rules between its values.
public protocol ProgramOptions: Sendable {
  init()
  /// How the values came about; filled by `OptionReader`.
  var report: OptionReport { get set }
}

/// What reading the options found out beside the values.
public struct OptionReport: Sendable {
  public var program = ProgramName.sft
  /// Lines for the log at the start of a run: what was derived and why.
  public var notes: [String] = []
  /// Lines for the log that the user should act on.
  public var warnings: [String] = []
  /// Options that were given and have no effect, with the reason.
  public var inert: [(name: String, why: String)] = []
  public var world = WorldInfo()
  public var launch = LaunchEnvironment([:])
  /// The values as given, with their origin.
  public var parsed = ParsedOptions()

  public init() {}

  /// One line that lists the options without effect, or nil.
  public var inertLine: String? {
    guard !inert.isEmpty else { return nil }
    return "accepted without effect: "
      + inert.map { "--\($0.name) (\($0.why))" }.joined(separator: ", ")
  }
}

/// Everything needed to read the options of one program.
struct ProgramDefinition<Root: ProgramOptions>: Sendable {
  let name: ProgramName
  let defaults: Root
  let table: OptionTable<Root>
  var positional: String?
  /// Fills values from files that the options name (`args.json`), before they are stored.
  var reload: @Sendable (inout ParsedOptions, LaunchEnvironment, inout Complaints) -> Void = {
    _, _, _ in
  }
  /// Reads options that stand inside the value of another one (`extra_megatron_kwargs`).
  var readExtra: @Sendable (inout ParsedOptions, inout Root, inout Complaints) -> Void = {
    _, _, _ in
  }
  /// Stores what follows from other values.
  var derive: @Sendable (inout Root, inout Complaints) -> Void = { _, _ in }
  var rules: [OptionRule<Root>] = []
}

/// A condition between options; all broken ones are reported together.
struct OptionRule<Root: Sendable>: Sendable {
  /// Short name, unique in its table; tests go by it.
  let name: String
  let code: FaultCode
  /// - Returns: the message when the rule is broken.
  let check: @Sendable (Root) -> String?

  init(
    _ name: String, code: FaultCode = .optionsDisagree,
    _ check: @escaping @Sendable (Root) -> String?
  ) {
    self.name = name
    self.code = code
    self.check = check
  }
}
