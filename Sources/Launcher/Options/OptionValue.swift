import Support

/// The value of one option, whatever its type.
public enum OptionValue: Sendable, Equatable {
  /// Not given and without a default of its own.
  case unset
  case bool(Bool)
  case int(Int)
  case float(Double)
  case text(String)
  case list([String])
  case floats([Double])
  case json(JSONValue)

  /// How the value stands in `args.json` and in `--dump_options`.
  public var json: JSONValue {
    switch self {
    case .unset: return .null
    case .bool(let value): return .bool(value)
    case .int(let value): return JSONValue(value)
    case .float(let value): return value.isFinite ? JSONValue(value) : .number("\(value)")
    case .text(let value): return .string(value)
    case .list(let values): return .array(values.map { .string($0) })
    case .floats(let values): return .array(values.map { OptionValue.float($0).json })
    case .json(let value): return value
    }
  }

  /// How the value is shown to people: texts without quotes, `–` for an unset one.
  public var shown: String {
    switch self {
    case .unset: return "–"
    case .text(let value): return value.isEmpty ? "\"\"" : value
    case .list(let values): return "[" + values.joined(separator: ", ") + "]"
    default: return json.write(.python)
    }
  }
}

/// What words an option takes.
public enum OptionKind: Sendable, Equatable {
  /// A switch with a default; may stand bare.
  case bool
  /// A switch without a default; needs its value.
  case optionalBool
  case int
  case float
  case text
  /// One of the words.
  case choice([String])
  case list
  case floatList
  /// Inline JSON, or the path of a JSON file.
  case json
  /// A word, or JSON if it is JSON.
  case textOrJSON

  /// The name of the type in `--dump_options`.
  public var name: String {
    switch self {
    case .bool: return "bool"
    case .optionalBool: return "bool?"
    case .int: return "int"
    case .float: return "float"
    case .text: return "str"
    case .choice(let words): return words.joined(separator: "|")
    case .list: return "list"
    case .floatList: return "list float"
    case .json: return "json"
    case .textOrJSON: return "str|json"
    }
  }

  /// What stands behind the name in `--help`.
  var placeholder: String {
    switch self {
    case .bool: return "[BOOL]"
    case .optionalBool: return "BOOL"
    case .int: return "INT"
    case .float: return "FLOAT"
    case .text: return "TEXT"
    case .choice(let words): return "{" + words.joined(separator: ",") + "}"
    case .list: return "WORD [WORD ...]"
    case .floatList: return "FLOAT [FLOAT ...]"
    case .json: return "JSON|FILE"
    case .textOrJSON: return "TEXT|JSON"
    }
  }

  var isList: Bool { self == .list || self == .floatList }

  var choices: [String] {
    if case .choice(let words) = self { return words }
    return []
  }
}

/// A Swift type that an option can fill.
public protocol OptionConvertible: Sendable {
  static var optionKind: OptionKind { get }
  /// - Returns: nil when the value is of another kind.
  init?(optionValue: OptionValue)
  var optionValue: OptionValue { get }
}

/// An enumeration of words: its cases are the choices of the option, in order.
public protocol OptionChoice: OptionConvertible, CaseIterable, RawRepresentable
where RawValue == String {}

extension OptionChoice {
  public static var optionKind: OptionKind { .choice(allCases.map(\.rawValue)) }
  public init?(optionValue: OptionValue) {
    guard case .text(let word) = optionValue else { return nil }
    self.init(rawValue: word)
  }
  public var optionValue: OptionValue { .text(rawValue) }
}

extension Bool: OptionConvertible {
  public static var optionKind: OptionKind { .bool }
  public init?(optionValue: OptionValue) {
    guard case .bool(let value) = optionValue else { return nil }
    self = value
  }
  public var optionValue: OptionValue { .bool(self) }
}

extension Int: OptionConvertible {
  public static var optionKind: OptionKind { .int }
  public init?(optionValue: OptionValue) {
    guard case .int(let value) = optionValue else { return nil }
    self = value
  }
  public var optionValue: OptionValue { .int(self) }
}

extension Double: OptionConvertible {
  public static var optionKind: OptionKind { .float }
  public init?(optionValue: OptionValue) {
    guard case .float(let value) = optionValue else { return nil }
    self = value
  }
  public var optionValue: OptionValue { .float(self) }
}

extension String: OptionConvertible {
  public static var optionKind: OptionKind { .text }
  public init?(optionValue: OptionValue) {
    guard case .text(let value) = optionValue else { return nil }
    self = value
  }
  public var optionValue: OptionValue { .text(self) }
}

extension JSONValue: OptionConvertible {
  public static var optionKind: OptionKind { .json }
  public init?(optionValue: OptionValue) {
    guard case .json(let value) = optionValue else { return nil }
    self = value
  }
  public var optionValue: OptionValue { .json(self) }
}

/// A word, or a JSON value where the word is JSON.
public enum TextOrJSON: OptionConvertible, Equatable {
  case text(String)
  case json(JSONValue)

  public static var optionKind: OptionKind { .textOrJSON }
  public init?(optionValue: OptionValue) {
    switch optionValue {
    case .text(let word): self = .text(word)
    case .json(let value): self = .json(value)
    default: return nil
    }
  }
  public var optionValue: OptionValue {
    switch self {
    case .text(let word): return .text(word)
    case .json(let value): return .json(value)
    }
  }
}

/// What a list option may hold.
public protocol OptionElement: Sendable {
  static var listKind: OptionKind { get }
  static func elements(of value: OptionValue) -> [Self]?
  static func value(of elements: [Self]) -> OptionValue
}

extension String: OptionElement {
  public static var listKind: OptionKind { .list }
  public static func elements(of value: OptionValue) -> [String]? {
    if case .list(let words) = value { return words }
    return nil
  }
  public static func value(of elements: [String]) -> OptionValue { .list(elements) }
}

extension Double: OptionElement {
  public static var listKind: OptionKind { .floatList }
  public static func elements(of value: OptionValue) -> [Double]? {
    if case .floats(let numbers) = value { return numbers }
    return nil
  }
  public static func value(of elements: [Double]) -> OptionValue { .floats(elements) }
}

extension Array: OptionConvertible where Element: OptionElement {
  public static var optionKind: OptionKind { Element.listKind }
  public init?(optionValue: OptionValue) {
    guard let elements = Element.elements(of: optionValue) else { return nil }
    self = elements
  }
  public var optionValue: OptionValue { Element.value(of: self) }
}

extension Optional: OptionConvertible where Wrapped: OptionConvertible {
  public static var optionKind: OptionKind {
    Wrapped.optionKind == .bool ? .optionalBool : Wrapped.optionKind
  }
  public init?(optionValue: OptionValue) {
    if optionValue == .unset {
      self = .none
      return
    }
    guard let value = Wrapped(optionValue: optionValue) else { return nil }
    self = .some(value)
  }
  public var optionValue: OptionValue { self?.optionValue ?? .unset }
}
