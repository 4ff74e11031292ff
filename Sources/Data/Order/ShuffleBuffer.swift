/// Shuffles a stream within a buffer: each row read replaces a random one, which is handed out.
public struct ShuffleBuffer<Element>: Sendable where Element: Sendable {
  private var generator: RandomGenerator
  private let capacity: Int
  private(set) var rows: [Element] = []
  /// Places drawn ahead. The reference draws a thousand at a time, which decides what numbers are
  /// left for the last shuffle.
  private var places: ArraySlice<Int> = []
  private(set) var draining = false
  /// Places that were drawn so far, of which `places` are left.
  private var drawn = 0

  /// - Parameter capacity: `--shuffle_buffer_size`, at least 1.
  public init(capacity: Int, seed: Int) {
    self.capacity = max(capacity, 1)
    generator = RandomGenerator(seed: seed)
  }

  /// The next row in shuffled order; `read` gives the next row of the stream, nil at its end.
  public mutating func next<Failure: Error>(
    _ read: () throws(Failure) -> Element?
  ) throws(Failure) -> Element? {
    while !draining {
      guard let row = try read() else {
        draining = true
        generator.shuffle(&rows)
        rows.reverse()
        break
      }
      if rows.count < capacity {
        rows.append(row)
        continue
      }
      let place = nextPlace()
      let out = rows[place]
      rows[place] = row
      return out
    }
    return rows.popLast()
  }

  private mutating func nextPlace() -> Int {
    if places.isEmpty { draw() }
    return places.removeFirst()
  }

  private mutating func draw() {
    places = (0..<1000).map { _ in generator.integer(below: capacity) }[...]
    drawn += places.count
  }

  /// Places that were used; with the rows and `draining` the whole position.
  var usedPlaces: Int { drawn - places.count }

  /// Goes on where another buffer of the same seed and capacity was.
  mutating func restore(rows: [Element], usedPlaces: Int, draining: Bool) {
    self.rows = rows
    self.draining = draining
    while drawn < usedPlaces { draw() }
    places = places.suffix(drawn - usedPlaces)
  }
}
