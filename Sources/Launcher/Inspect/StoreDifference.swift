import Checkpoint
import Foundation
import Model
import Support
import Tensor

/// `--diff A B`: two checkpoints of any two forms, tensor by tensor, in bounded memory.
///
/// Forms with the same names are compared as they are; a Megatron checkpoint and a published folder
/// by the published names; an adapter in both forms by ours, and how it is scaled; stacked and numbered Megatron keys layer by layer.
struct StoreDifference {
  let a: String
  let b: String
  /// Tells the shape of the model when neither side has a config.json.
  var model: String?
  /// `b` was made from `a`: where types differ, `a` is rounded to the type of `b` first.
  var rounds = false

  struct Result {
    /// A line for each tensor that is not equal, and for each that one side lacks.
    var lines: [String] = []
    var equal = 0
    var bytes = 0
    var isEqual: Bool { lines.isEmpty }
  }

  func run() throws(Fault) -> Result {
    let (x, y) = (try TensorStore(a), try TensorStore(b))
    let result = try compare(x, y)
    try x.finish()
    try y.finish()
    return result
  }

  private func compare(_ x: TensorStore, _ y: TensorStore) throws(Fault) -> Result {
    switch (x, y) {
    case (.megatron, .published), (.published, .megatron):
      let sides = (
        try Side.published(x, names: y, model), try Side.published(y, names: x, model)
      )
      // A tied output layer may lie in a published folder though the model has none.
      return try compare(
        sides.0.without(sides.1) { $0.name == "lm_head.weight" },
        sides.1.without(sides.0) { $0.name == "lm_head.weight" })
    case (.megatron, .adapter), (.adapter, .megatron):
      return try compare(try AdapterSide(x, beside: y, model), try AdapterSide(y, beside: x, model))
    case (.published(let f), .published(let g)):
      let (p, q) = (try Side.reordered(f, like: g), try Side.reordered(g, like: f))
      return try compare(p ?? .plain(x), q ?? .plain(y))
    default: break
    }
    let names = [x, y].map { Set($0.tensors.map(\.name)) }
    if names[0].isDisjoint(with: names[1]) || isMegatronOnly(x, y) && names[0] != names[1] {
      return try compare(Side.unstacked(x), Side.unstacked(y))
    }
    return try compare(Side.plain(x), Side.plain(y))
  }

  /// Adapters under our names, with how each is scaled.
  private func compare(_ x: AdapterSide, _ y: AdapterSide) throws(Fault) -> Result {
    var result = try compare(x.side, y.side)
    for (weight, scale) in x.scales.sorted(by: { $0.key < $1.key }) {
      guard let other = y.scales[weight], other != scale else { continue }
      result.lines.append("\(weight): the adapter is scaled by \(scale) and by \(other)")
    }
    return result
  }

  private func isMegatronOnly(_ x: TensorStore, _ y: TensorStore) -> Bool {
    if case .megatron = x, case .megatron = y { true } else { false }
  }

  private func compare(_ x: Side, _ y: Side) throws(Fault) -> Result {
    var result = Result()
    let (x, y) = (x.without(y, \.isOptimizerState), y.without(x, \.isOptimizerState))
    let other = Dictionary(y.entries.map { ($0.name, $0) }) { first, _ in first }
    let mine = Set(x.entries.map(\.name))
    let memory = (StreamMemory(), StreamMemory())
    for p in x.entries {
      guard let q = other[p.name] else {
        result.lines.append("only in \(a): \(p.name)  \(p.dtype.rawValue)  \(p.shape)")
        continue
      }
      guard p.shape == q.shape else {
        result.lines.append("\(p.name): shape \(p.shape) and \(q.shape)")
        continue
      }
      result.bytes += p.byteCount
      let found = try difference(x, p, y, q, memory)
      let types =
        p.dtype == q.dtype ? "" : " (\(p.dtype.rawValue) and \(q.dtype.rawValue))"
      if found.count == 0 {
        result.equal += 1
        continue
      }
      result.lines.append(
        "\(p.name): \(found.count) of \(p.shape.reduce(1, *)) elements differ\(types), "
          + "at most by \(String(format: "%.6g", found.largest)), "
          + "first at \(Self.place(found.first ?? 0, p.shape))")
    }
    for q in y.entries where !mine.contains(q.name) {
      result.lines.append("only in \(b): \(q.name)  \(q.dtype.rawValue)  \(q.shape)")
    }
    return result
  }

  private func difference(
    _ x: Side, _ p: Side.Entry, _ y: Side, _ q: Side.Entry, _ memory: (StreamMemory, StreamMemory)
  ) throws(Fault) -> ElementDifference {
    var found = ElementDifference()
    let cast = rounds && p.dtype != q.dtype ? ElementCast(engine: try Engine()) : nil
    func add(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) throws(Fault) {
      guard let cast else { return found.add(left, p.dtype, right, q.dtype) }
      try cast.convert(left, p.dtype, q.dtype) { (rounded) throws(Fault) in
        found.add(rounded, q.dtype, right, q.dtype)
      }
    }
    var done = 0
    // A side that is put together goes ahead, the other one reads the same elements.
    if let read = y.read {
      try x.stream(p, memory.0) { (left) throws(Fault) in
        let run = done..<done + left.count / p.dtype.size
        done = run.upperBound
        let right = memory.1.gathered(run.count * q.dtype.size)
        try read(q, run, right)
        try add(left, UnsafeRawBufferPointer(right))
      }
    } else if let read = x.read {
      try y.stream(q, memory.0) { (right) throws(Fault) in
        let run = done..<done + right.count / q.dtype.size
        done = run.upperBound
        let left = memory.1.gathered(run.count * p.dtype.size)
        try read(p, run, left)
        try add(UnsafeRawBufferPointer(left), right)
      }
    }
    return found
  }

  /// The place of an element: `[3, 17]`.
  private static func place(_ index: Int, _ shape: [Int]) -> [Int] {
    var rest = index
    return shape.reversed().map { size in
      defer { rest /= max(size, 1) }
      return rest % max(size, 1)
    }.reversed()
  }
}
