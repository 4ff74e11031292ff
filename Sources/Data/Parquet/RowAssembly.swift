import Support

/// Puts the values of a row together from the entries of its columns (Dremel, Melnik et al. 2010).
struct RowAssembly {
  private let entries: [[ColumnCursor.Entry]]
  private var places: [Int]
  private let path: String

  /// - Parameter entries: of one row, by column.
  init(_ entries: [[ColumnCursor.Entry]], path: String) {
    self.entries = entries
    self.path = path
    places = entries.map { _ in 0 }
  }

  /// - Throws: `DATA-101` when the columns do not fit together.
  mutating func row(_ columns: [ParquetNode]) throws(Fault) -> JSONObject {
    var row = JSONObject()
    for column in columns { row[column.name] = try value(column) }
    guard zip(places, entries).allSatisfy({ $0 == $1.count }) else { throw misfit }
    return row
  }

  private var misfit: Fault { ParquetFault.damaged(path, "its columns do not fit together") }

  private func entry(_ node: ParquetNode) throws(Fault) -> ColumnCursor.Entry {
    let leaf = node.leaves.lowerBound
    guard places[leaf] < entries[leaf].count else { throw misfit }
    return entries[leaf][places[leaf]]
  }

  /// Passes over a node that is not there: one entry of each column below tells so.
  private mutating func skip(_ node: ParquetNode) throws(Fault) {
    for leaf in node.leaves {
      guard places[leaf] < entries[leaf].count else { throw misfit }
      places[leaf] += 1
    }
  }

  private mutating func value(_ node: ParquetNode) throws(Fault) -> JSONValue {
    if node.repetition == .repeated { return .array(try elements(node) { $0 }) }
    if node.repetition == .optional, try entry(node).definition < node.definition {
      try skip(node)
      return .null
    }
    return try content(node)
  }

  private mutating func elements(
    _ node: ParquetNode, _ change: (JSONValue) -> JSONValue
  ) throws(Fault) -> [JSONValue] {
    guard try entry(node).definition >= node.definition else {
      try skip(node)
      return []
    }
    var list: [JSONValue] = []
    repeat {
      list.append(change(try content(node)))
    } while try repeats(node)
    return list
  }

  /// Whether the next entry is one more element of the same list.
  private func repeats(_ node: ParquetNode) throws(Fault) -> Bool {
    let leaf = node.leaves.lowerBound
    return places[leaf] < entries[leaf].count
      && entries[leaf][places[leaf]].repetition == node.level
  }

  private mutating func content(_ node: ParquetNode) throws(Fault) -> JSONValue {
    guard node.meaning == nil else {
      let value = try entry(node).value
      try skip(node)
      return value ?? .null
    }
    switch node.shape {
    case .list:
      let isWrapped = node.isElementWrapped
      return .array(
        try elements(node.children[0]) { element in
          isWrapped ? element.object?.members.first?.value ?? .null : element
        })
    case .map:
      var map = JSONObject()
      let pairs = try elements(node.children[0]) { $0 }
      for pair in pairs {
        guard let members = pair.object?.members, members.count == 2 else { throw misfit }
        map[members[0].value.string ?? members[0].value.write()] = members[1].value
      }
      return .object(map)
    case .record:
      var record = JSONObject()
      for child in node.children { record[child.name] = try value(child) }
      return .object(record)
    }
  }
}
