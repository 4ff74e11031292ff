import Support

/// Where a row of a stream stands, so that it can be read again.
struct RowTicket: Sendable, Equatable {
  var source = 0
  var part = 0
  var file = 0
  var mark = FileMark()
  /// Columns of the part that were known when it was read; they decide what its own mean.
  var columns = 0
  /// Which of several responses it uses.
  var pick = 0
}

/// How far one data set was read.
struct SourcePosition: Sendable, Equatable {
  var part = 0
  var file = 0
  var mark = FileMark()
  /// Rows that were looked ahead at from `mark` on.
  var ahead = 0
  /// Columns that were met in this pass over the data, of each part so far.
  var columns: [[String]] = []
  /// Random words that were used to pick among responses.
  var pickedWords = 0
  /// Rows that are left of the number after `#`.
  var left: Int?
}

/// How far a stream of rows was read: nothing that lies before has to be read again, but for the rows
/// that were held back by the shuffle and by the packer.
struct StreamPosition: Sendable, Equatable {
  /// Bytes of every file of every source.
  var fileSizes: [Int] = []
  var sources: [SourcePosition] = []
  /// Columns that were ever met, of each part of each source: rows that are held may be of a pass
  /// before.
  var columns: [[[String]]] = []
  /// The source that is read, where they follow each other.
  var current = 0
  /// Next row of each source, where they are mixed by chance.
  var heads: [RowTicket?] = []
  var mixerDraws = 0
  var usedUp: [Bool] = []
  /// Rows in the shuffle buffer.
  var held: [RowTicket] = []
  var usedPlaces = 0
  var isDraining = false
  /// Rows of the pack that was carried on.
  var carried: [RowTicket] = []
  /// Samples that were taken of the round that begins here.
  var taken = 0
}

extension RowTicket {
  fileprivate var json: JSONValue {
    .array([source, part, file, mark.offset, mark.line, columns, pick].map { JSONValue($0) })
  }

  fileprivate init?(_ json: JSONValue) {
    guard let n = json.ints, n.count == 7, n.allSatisfy({ $0 >= 0 }) else { return nil }
    self.init(
      source: n[0], part: n[1], file: n[2], mark: FileMark(offset: n[3], line: n[4]),
      columns: n[5], pick: n[6])
  }
}

extension SourcePosition {
  fileprivate var json: JSONValue {
    .object(
      JSONObject([
        (
          "place",
          .array([part, file, mark.offset, mark.line, ahead, pickedWords].map { JSONValue($0) })
        ),
        ("columns", columns.json),
        ("left", left.map { JSONValue($0) } ?? .null),
      ]))
  }

  fileprivate init?(_ json: JSONValue) {
    guard let n = json["place"]?.ints, n.count == 6, n.allSatisfy({ $0 >= 0 }),
      let lists = [[String]](json["columns"])
    else { return nil }
    part = n[0]
    file = n[1]
    mark = FileMark(offset: n[2], line: n[3])
    ahead = n[4]
    pickedWords = n[5]
    columns = lists
    left = json["left"]?.int
  }
}

extension [[String]] {
  fileprivate var json: JSONValue { .array(map { .array($0.map { .string($0) }) }) }

  fileprivate init?(_ json: JSONValue?) {
    guard let lists = json?.array else { return nil }
    self.init()
    for list in lists {
      guard let names = list.array?.map(\.string), !names.contains(nil) else { return nil }
      append(names.compactMap { $0 })
    }
  }
}

extension StreamPosition {
  var json: JSONValue {
    func tickets(_ list: [RowTicket]) -> JSONValue { .array(list.map(\.json)) }
    return .object(
      JSONObject([
        ("file_sizes", .array(fileSizes.map { JSONValue($0) })),
        ("sources", .array(sources.map(\.json))),
        ("columns", .array(columns.map(\.json))), ("current", JSONValue(current)),
        ("heads", .array(heads.map { $0?.json ?? .null })),
        ("mixer_draws", JSONValue(mixerDraws)), ("used_up", .array(usedUp.map { .bool($0) })),
        ("held", tickets(held)), ("used_places", JSONValue(usedPlaces)),
        ("draining", .bool(isDraining)), ("carried", tickets(carried)),
        ("taken", JSONValue(taken)),
      ]))
  }

  /// nil for what `json` does not write.
  init?(_ json: JSONValue) {
    func tickets(_ key: String) -> [RowTicket]? {
      guard let list = json[key]?.array?.map({ RowTicket($0) }), !list.contains(nil) else {
        return nil
      }
      return list.compactMap { $0 }
    }
    guard let sizes = json["file_sizes"]?.ints, let held = tickets("held"),
      let list = json["sources"]?.array?.map({ SourcePosition($0) }), !list.contains(nil),
      let columns = json["columns"]?.array?.map({ [[String]]($0) }), columns.count == list.count,
      let carried = tickets("carried"), let current = json["current"]?.int,
      let draws = json["mixer_draws"]?.int, let places = json["used_places"]?.int,
      let taken = json["taken"]?.int, min(current, draws, places, taken) >= 0
    else { return nil }
    fileSizes = sizes
    sources = list.compactMap { $0 }
    self.columns = columns.compactMap { $0 }
    guard self.columns.count == sources.count else { return nil }
    self.current = current
    heads = (json["heads"]?.array ?? []).map { RowTicket($0) }
    mixerDraws = draws
    usedUp = (json["used_up"]?.array ?? []).map { $0.bool ?? false }
    self.held = held
    usedPlaces = places
    isDraining = json["draining"]?.bool ?? false
    self.carried = carried
    self.taken = taken
  }
}
