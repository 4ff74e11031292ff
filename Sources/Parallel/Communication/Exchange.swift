import CMPI
import Support

/// The names of the collectives, for logs, counters and messages.
public enum CollectiveKind: String, Sendable, CaseIterable {
  case barrier
  case broadcast
  case allGather = "all-gather"
  case allToAll = "all-to-all"
  case reduceScatter = "reduce-scatter"
  case allReduce = "all-reduce"
  case split
}

/// How the values of the ranks are combined, element by element.
enum Reduction: Sendable {
  case sum(TreeOrder)
  case maxFloat
  case maxInt64
  case sumInt64

  /// The code of `cmpi_combine`; also what ranks compare to see that they make the same call.
  var code: Int32 {
    switch self {
    case .sum(.adjacentFirst): Int32(CMPI_SUM_ADJACENT)
    case .sum(.distantFirst): Int32(CMPI_SUM_DISTANT)
    case .maxFloat: Int32(CMPI_MAX_FLOAT)
    case .maxInt64: Int32(CMPI_MAX_INT64)
    case .sumInt64: Int32(CMPI_SUM_INT64)
    }
  }

  var elementBytes: Int {
    switch self {
    case .sum, .maxFloat: 4
    case .maxInt64, .sumInt64: 8
    }
  }
}

/// How bytes move between the members of one group: the part in which the worlds differ.
///
/// Arguments were checked by `GroupWorld`: counts fit the buffers and are not negative.
/// Combined values have the same bits in every implementation, because all of them gather the
/// summands of an element and hand them to `cmpi_combine` in rank order.
protocol Exchange: AnyObject {
  func barrier() throws(Fault)

  /// `counts[r]` bytes of rank r follow each other in `receive`.
  func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(Fault)

  func allToAll(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int]
  ) throws(Fault)

  func broadcast(_ buffer: UnsafeMutableRawBufferPointer, from root: Int) throws(Fault)

  /// `send` is `size` slices of `count` elements, `receive` is one.
  func reduceScatter(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, count: Int,
    _ reduction: Reduction
  ) throws(Fault)

  func allReduce(
    _ buffer: UnsafeMutableRawPointer, count: Int, _ reduction: Reduction
  ) throws(Fault)
}

/// The places of blocks that follow each other: the sums of the counts before each.
func offsets(of counts: [Int]) -> [Int] {
  var at = 0
  return counts.map { count in
    defer { at += count }
    return at
  }
}

/// Pointers to one block per rank, in the form `cmpi_combine` takes.
final class SourceTable {
  let count: Int
  private let table: UnsafeMutablePointer<UnsafeRawPointer?>

  init(count: Int) {
    self.count = count
    table = .allocate(capacity: count)
    table.initialize(repeating: nil, count: count)
  }

  deinit { table.deallocate() }

  subscript(rank: Int) -> UnsafeRawPointer? {
    get { table[rank] }
    set { table[rank] = newValue }
  }

  func combine(into out: UnsafeMutableRawPointer, count elements: Int, _ reduction: Reduction) {
    cmpi_combine(reduction.code, table, Int32(count), out, elements)
  }
}

extension TreeOrder {
  /// Adds blocks that lie in this process along the same tree as the collectives do over ranks:
  /// `out[i]` is the tree sum over r of `sources[r][i]`.
  ///
  /// - Parameters:
  ///   - sources: one block of `count` floats per leaf, in index order; at least one.
  ///   - out: `count` floats; may be one of the sources.
  public func sum(
    _ sources: [UnsafePointer<Float>], into out: UnsafeMutablePointer<Float>, count: Int
  ) {
    precondition(!sources.isEmpty, "a sum needs at least one block")
    let table = SourceTable(count: sources.count)
    for (index, source) in sources.enumerated() { table[index] = UnsafeRawPointer(source) }
    table.combine(into: UnsafeMutableRawPointer(out), count: count, .sum(self))
  }
}
