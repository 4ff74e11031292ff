import Support

/// Where the value of an option came from, weakest first.
public enum OptionOrigin: Sendable, Equatable {
  case standard
  /// The `args.json` of a checkpoint.
  case savedArguments(String)
  case file(String)
  case environment(String)
  /// `--extra_megatron_kwargs`.
  case extraKeywords
  case commandLine
  /// Follows from other options.
  case derived(String)

  /// For `--print_config`.
  public var shown: String {
    switch self {
    case .standard: return "default"
    case .savedArguments(let path), .file(let path): return "file \(path)"
    case .environment(let name): return "environment \(name)"
    case .extraKeywords: return "--extra_megatron_kwargs"
    case .commandLine: return "command line"
    case .derived(let why): return "derived: \(why)"
    }
  }
}

/// Values that were given, before they are stored in a typed record.
public struct ParsedOptions: Sendable {
  /// A value and where it came from.
  public struct Given: Sendable, Equatable {
    public var value: OptionValue
    public var origin: OptionOrigin
  }

  /// By name of the row; rows that were not given have no entry.
  public private(set) var given: [String: Given] = [:]

  public init() {}

  public subscript(name: String) -> OptionValue? { given[name]?.value }
  public func origin(_ name: String) -> OptionOrigin { given[name]?.origin ?? .standard }
  public func isGiven(_ name: String) -> Bool { given[name] != nil }

  /// Whether the user wrote the option, on the command line or in a file or variable of the run.
  public func isGivenByUser(_ name: String) -> Bool {
    switch origin(name) {
    case .standard, .savedArguments, .derived: return false
    default: return true
    }
  }

  mutating func set(_ name: String, _ value: OptionValue, _ origin: OptionOrigin) {
    given[name] = Given(value: value, origin: origin)
  }

  mutating func remove(_ name: String) { given[name] = nil }

  /// Adds what the stronger source did not say.
  mutating func fill(from weaker: ParsedOptions) {
    given.merge(weaker.given) { mine, _ in mine }
  }
}
