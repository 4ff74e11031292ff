import Support

/// Where a row stands among all data of a run, so that rows compare in the order of the files.
struct RowPlace: Sendable, Comparable {
  /// 0 for `--dataset`, 1 for `--val_dataset`.
  var flag: Int
  var source: Int
  var row: Int

  static func < (a: RowPlace, b: RowPlace) -> Bool {
    (a.flag, a.source, a.row) < (b.flag, b.source, b.row)
  }
}

/// Rows and the order they are used in. A row that repeats stands once in `rows`, which follow the
/// order of the files whatever the order of use is.
struct RowSet: Sendable {
  var rows: [StandardRow] = []
  var places: [RowPlace] = []
  var order: [Int] = []

  init() {}

  /// - Parameters:
  ///   - references: rows in the order of use.
  ///   - all: rows of each source.
  ///   - flag: as `RowPlace.flag`.
  init(_ references: [RowReference], of all: [[StandardRow]], flag: Int) {
    var numbers = all.map { [Int](repeating: -1, count: $0.count) }
    for reference in references { numbers[reference.source][reference.row] = 0 }
    for source in all.indices {
      for row in all[source].indices where numbers[source][row] == 0 {
        numbers[source][row] = rows.count
        rows.append(all[source][row])
        places.append(RowPlace(flag: flag, source: source, row: row))
      }
    }
    order = references.map { numbers[$0.source][$0.row] }
  }

  /// The rows in the order they are used.
  var inOrder: [StandardRow] { order.map { rows[$0] } }
}

/// The rows that are trained on and those that are evaluated on.
struct RowSets: Sendable {
  var train = RowSet()
  var validation = RowSet()

  /// What becomes of the rows of both sets. They are encoded in the order of the files, so that the
  /// first bad row is the first of its file, and what is cached does not depend on how rows were
  /// split and shuffled.
  /// - Throws: as `EncodePass.outcomes`.
  func outcomes(
    by pass: EncodePass
  ) throws(Fault) -> (train: [RowOutcome], validation: [RowOutcome]) {
    var rows: [StandardRow] = []
    var isTraining: [Bool] = []
    var (i, j) = (0, 0)
    while i < train.rows.count || j < validation.rows.count {
      let takes =
        j == validation.rows.count
        || (i < train.rows.count && train.places[i] < validation.places[j])
      rows.append(takes ? train.rows[i] : validation.rows[j])
      isTraining.append(takes)
      if takes { i += 1 } else { j += 1 }
    }
    let outcomes = try pass.outcomes(of: rows)
    func part(_ training: Bool) -> [RowOutcome] {
      zip(outcomes, isTraining).filter { $0.1 == training }.map { $0.0 }
    }
    return (part(true), part(false))
  }

  /// Equal on ranks that read the same rows in the same order.
  var checksum: UInt32 {
    var crc = CRC32C()
    for set in [train, validation] {
      set.order.withUnsafeBytes { crc.update($0) }
      for row in set.rows {
        withUnsafeBytes(of: row.source.line) { crc.update($0) }
        for message in row.messages {
          var text = message.content
          text.withUTF8 { crc.update(UnsafeRawBufferPointer($0)) }
        }
        row.inputIDs?.withUnsafeBytes { crc.update($0) }
      }
    }
    return crc.value
  }
}
