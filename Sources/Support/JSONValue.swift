/// A JSON value that keeps what Foundation's reader throws away: the order of the members and
/// the text of each number. Both matter here: `tools` are rendered back into prompts, and
/// configuration files are carried along unchanged.
public enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  /// The number as written (`1e-6`, `3`, `-0.0`).
  case number(String)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)
}

/// The members of a JSON object in the order of the file. A repeated key keeps its first place
/// and its last value, as Python's reader does.
public struct JSONObject: Sendable, Equatable {
  public private(set) var members: [(key: String, value: JSONValue)] = []
  private var index: [String: Int] = [:]

  public init() {}
  public init(_ members: [(key: String, value: JSONValue)]) {
    for (key, value) in members { self[key] = value }
  }

  public var keys: [String] { members.map(\.key) }
  public var count: Int { members.count }
  public var isEmpty: Bool { members.isEmpty }

  public subscript(key: String) -> JSONValue? {
    get { index[key].map { members[$0].value } }
    set {
      switch (index[key], newValue) {
      case (let place?, let value?): members[place].value = value
      case (nil, let value?):
        index[key] = members.count
        members.append((key, value))
      case (let place?, nil):
        members.remove(at: place)
        index = [:]
        for (i, member) in members.enumerated() { index[member.key] = i }
      case (nil, nil): break
      }
    }
  }

  public static func == (a: JSONObject, b: JSONObject) -> Bool {
    a.count == b.count
      && zip(a.members, b.members).allSatisfy { $0.key == $1.key && $0.value == $1.value }
  }
}

extension JSONValue {
  public init(_ value: Int) { self = .number(String(value)) }
  public init(_ value: Double) {
    self = value.isFinite ? .number(JSONValue.text(of: value)) : .null
  }

  /// Shortest text that reads back to the same double; whole numbers keep `.0` as Python's do.
  public static func text(of value: Double) -> String { "\(value)" }

  public var int: Int? {
    if case .number(let text) = self { return Int(text) }
    return nil
  }
  public var double: Double? {
    if case .number(let text) = self { return Double(text) }
    return nil
  }
  public var bool: Bool? {
    if case .bool(let value) = self { return value }
    return nil
  }
  public var string: String? {
    if case .string(let value) = self { return value }
    return nil
  }
  public var array: [JSONValue]? {
    if case .array(let value) = self { return value }
    return nil
  }
  public var object: JSONObject? {
    if case .object(let value) = self { return value }
    return nil
  }
  public var isNull: Bool { self == .null }

  /// The member of an object, or nil for a missing key or another kind of value.
  public subscript(key: String) -> JSONValue? { object?[key] }

  /// What kind of value this is, for messages.
  public var kind: String {
    switch self {
    case .null: return "null"
    case .bool: return "a boolean"
    case .number: return "a number"
    case .string: return "a string"
    case .array: return "a list"
    case .object: return "an object"
    }
  }
}
