import Support

/// A column or group of columns, with the levels that tell where a value is missing or repeated.
final class ParquetNode {
  enum Repetition: Int { case required, optional, repeated }
  /// How the children of a group are shown.
  enum Shape { case record, list, map }

  let name: String
  let repetition: Repetition
  let shape: Shape
  /// Level from which on this node is there.
  let definition: Int
  /// Level at which this node repeats, or the one around it.
  let level: Int
  /// The columns below, in the order of the file.
  let leaves: Range<Int>
  let children: [ParquetNode]
  let meaning: ValueMeaning?

  init(
    _ element: ParquetMetadata.Element, _ repetition: Repetition, definition: Int, level: Int,
    leaves: Range<Int>, children: [ParquetNode], meaning: ValueMeaning?
  ) {
    name = element.name
    self.repetition = repetition
    (self.definition, self.level) = (definition, level)
    (self.leaves, self.children, self.meaning) = (leaves, children, meaning)
    let isWrapped = children.count == 1 && children[0].repetition == .repeated
    let isList = element.converted == 3 || element.logical?.kind == 3
    let isMap = [1, 2].contains(element.converted) || element.logical?.kind == 2
    if isWrapped, isList {
      shape = .list
    } else if isWrapped, isMap, children[0].children.count == 2 {
      shape = .map
    } else {
      shape = .record
    }
  }

  /// Whether an element of this list stands in a group of its own that has no meaning (three levels);
  /// older writers have two.
  var isElementWrapped: Bool {
    guard shape == .list, let middle = children.first else { return false }
    return middle.children.count == 1 && middle.name != "array" && middle.name != "\(name)_tuple"
  }
}

/// The columns of a file.
struct ParquetSchema {
  static let columnLimit = 10_000
  private static let depthLimit = 24

  let columns: [ParquetNode]
  /// The nodes that hold values, in the order of the file.
  let leaves: [ParquetNode]

  /// - Throws: `DATA-101`.
  init(_ elements: [ParquetMetadata.Element], path: String) throws(Fault) {
    guard let root = elements.first, root.children > 0, elements.count <= Self.columnLimit else {
      throw ParquetFault.damaged(path, "it describes \(elements.count) columns")
    }
    var builder = Builder(elements: elements, path: path)
    columns = try builder.children(root.children, definition: 0, level: 0, depth: 0)
    guard builder.at == elements.count else {
      throw ParquetFault.damaged(path, "its columns do not form a tree")
    }
    leaves = builder.leaves
  }

  private struct Builder {
    let elements: [ParquetMetadata.Element]
    let path: String
    var at = 1
    var leaves: [ParquetNode] = []

    mutating func children(
      _ count: Int, definition: Int, level: Int, depth: Int
    ) throws(Fault) -> [ParquetNode] {
      guard count >= 0, count <= elements.count - at, depth < ParquetSchema.depthLimit else {
        throw ParquetFault.damaged(path, "its columns do not form a tree")
      }
      var nodes: [ParquetNode] = []
      for _ in 0..<count {
        nodes.append(try node(definition: definition, level: level, depth: depth))
      }
      return nodes
    }

    private mutating func node(
      definition: Int, level: Int, depth: Int
    ) throws(Fault) -> ParquetNode {
      guard at < elements.count,
        let repetition = ParquetNode.Repetition(rawValue: elements[at].repetition)
      else { throw ParquetFault.damaged(path, "its columns do not form a tree") }
      let element = elements[at]
      at += 1
      let definition = definition + (repetition == .required ? 0 : 1)
      let level = level + (repetition == .repeated ? 1 : 0)
      let first = leaves.count
      var below: [ParquetNode] = []
      var meaning: ValueMeaning?
      if let type = element.type {
        guard element.children == 0 else {
          throw ParquetFault.damaged(path, "column \(element.name) holds values and columns")
        }
        meaning = try ValueMeaning(element, type: type, path: path)
      } else {
        below = try children(
          element.children, definition: definition, level: level, depth: depth + 1)
        guard !below.isEmpty else {
          throw ParquetFault.damaged(path, "group \(element.name) has no columns")
        }
      }
      let last = meaning == nil ? leaves.count : first + 1
      let node = ParquetNode(
        element, repetition, definition: definition, level: level, leaves: first..<last,
        children: below, meaning: meaning)
      if meaning != nil { leaves.append(node) }
      return node
    }
  }
}
