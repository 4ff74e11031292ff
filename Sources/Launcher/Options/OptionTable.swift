import Support

/// All options of one program.
public struct OptionTable<Root: Sendable>: Sendable {
  public private(set) var rows: [Option<Root>]
  /// Other spellings: name → name of a row.
  public private(set) var aliases: [String: String]
  /// Names of another table of the program, offered for a misspelt word as well.
  let neighbours: [String]
  private var index: [String: Int] = [:]

  /// - Parameters:
  ///   - defaults: the record whose values are the defaults of the rows.
  init(
    _ rows: [Option<Root>], defaults: Root, aliases: [String: String] = [:],
    neighbours: [String] = []
  ) {
    self.rows = rows
    self.neighbours = neighbours
    self.aliases = aliases
    for (place, row) in rows.enumerated() {
      precondition(index[row.spec.name] == nil, "option \(row.spec.name) is declared twice")
      index[row.spec.name] = place
      if let read = row.read { self.rows[place].spec.defaultValue = read(defaults) }
    }
    for (alias, target) in aliases {
      precondition(index[target] != nil, "alias \(alias) names the unknown option \(target)")
      precondition(index[alias] == nil, "alias \(alias) is an option too")
    }
  }

  public var specs: [OptionSpec] { rows.map(\.spec) }

  /// The row of exactly this name (underscores), aliases included.
  func row(_ name: String) -> Option<Root>? {
    index[aliases[name] ?? name].map { rows[$0] }
  }

  public func spec(_ name: String) -> OptionSpec? { row(name)?.spec }

  /// Every name a user can write after the two dashes, `no_NAME` forms included.
  var spellings: [String] {
    rows.map(\.spec.name) + aliases.keys.sorted()
      + rows.filter(\.spec.canBeNegated).map { "no_" + $0.spec.name }
  }
}
