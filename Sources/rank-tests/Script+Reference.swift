import Parallel

extension Script {
  /// What `rank` must receive in each call, computed plainly from all ranks' data.
  func reference(rank: Int) -> [[UInt8]] {
    calls.enumerated().map { expected($1, $0, rank: rank) }
  }

  private func expected(_ call: Call, _ step: Int, rank: Int) -> [UInt8] {
    let all = 0..<ranks
    switch call {
    case .barrier:
      return []
    case .allReduce(let count, let order):
      return rawBytes(treeSum(all.map { floats(step, rank: $0, count: count) }, order))
    case .reduceScatter(let count, let order):
      let slices = all.map { member in
        Array(floats(step, rank: member, count: count * ranks)[rank * count..<(rank + 1) * count])
      }
      return rawBytes(treeSum(slices, order))
    case .allGather(let counts):
      return all.flatMap { bytes(step, rank: $0, count: counts[$0]) }
    case .allToAll(let table):
      return all.flatMap { sender in
        let row = table[sender]
        let start = row[..<rank].reduce(0, +)
        return bytes(step, rank: sender, count: row.reduce(0, +))[start..<start + row[rank]]
      }
    case .broadcast(let count, let root):
      return bytes(step, rank: root, count: count)
    case .maxFloat(let count):
      return rawBytes(fold(all.map { floats(step, rank: $0, count: count) }) { Swift.max($0, $1) })
    case .maxInt(let count):
      return rawBytes(
        fold(all.map { integers(step, rank: $0, count: count) }) { Swift.max($0, $1) })
    case .sumInt(let count):
      return rawBytes(fold(all.map { integers(step, rank: $0, count: count) }) { $0 &+ $1 })
    }
  }

  private func fold<T>(_ rows: [[T]], _ combine: (T, T) -> T) -> [T] {
    rows.dropFirst().reduce(rows[0]) { zip($0, $1).map { combine($0.0, $0.1) } }
  }
}

/// The sum of equally long rows as `TreeOrder` defines it, by plain recursion.
func treeSum(_ rows: [[Float]], _ order: TreeOrder) -> [Float] {
  let n = rows.count
  if n == 1 { return rows[0] }
  let left: [[Float]]
  let right: [[Float]]
  let isPower = n & (n - 1) == 0
  if isPower, case .distantFirst = order {
    left = stride(from: 0, to: n, by: 2).map { rows[$0] }
    right = stride(from: 1, to: n, by: 2).map { rows[$0] }
  } else {
    var cut = 1
    while cut * 2 < n { cut *= 2 }
    left = Array(rows[..<cut])
    right = Array(rows[cut...])
  }
  return zip(treeSum(left, order), treeSum(right, order)).map { $0 + $1 }
}
