import Support

/// The option table as data, for documentation, completion and tests.
enum OptionDump {
  static func text<Root>(_ table: OptionTable<Root>) -> String {
    json(table).write(.indented) + "\n"
  }

  static func json<Root>(_ table: OptionTable<Root>) -> JSONValue {
    .array(table.specs.map { .object(object($0, table)) })
  }

  private static func object<Root>(_ spec: OptionSpec, _ table: OptionTable<Root>) -> JSONObject {
    var object = JSONObject()
    object["name"] = .string(spec.name)
    object["type"] = .string(spec.kind.name)
    object["default"] = spec.defaultValue.json
    object["choices"] = .array(spec.choices.map { .string($0) })
    object["group"] = .string(spec.group.rawValue)
    object["effect"] = .string(spec.effect.name)
    switch spec.effect {
    case .used: break
    case .none(let why), .refused(let why): object["reason"] = .string(why)
    }
    if let refused = spec.refusedWords {
      object["refused_choices"] = .array(refused.words.map { .string($0) })
      object["reason"] = .string(refused.why)
    }
    if let meaning = spec.whenUnset { object["when_unset"] = .string(meaning) }
    if let variable = spec.environment { object["environment"] = .string(variable) }
    let aliases = table.aliases.filter { $0.value == spec.name }.map(\.key).sorted()
    if !aliases.isEmpty { object["aliases"] = .array(aliases.map { .string($0) }) }
    if spec.isSecret { object["secret"] = .bool(true) }
    object["help"] = .string(spec.help)
    return object
  }
}
