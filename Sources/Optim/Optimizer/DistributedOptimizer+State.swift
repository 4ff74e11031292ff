import CKernels
import Support
import Tensor

/// A run of one parameter whose state this rank owns: what a checkpoint stores or asks for.
public struct OwnedState: Sendable, Equatable {
  /// Name of the parameter.
  public let name: String
  public let isExpert: Bool
  /// Elements of this rank's flat local tensor.
  public let range: Range<Int>
  /// Shape of the local tensor.
  public let shape: [Int]
}

/// Takes or gives values of a run, in fp32: the elements of the local tensor and their memory.
public typealias StateReader =
  (_ range: Range<Int>, _ values: UnsafeBufferPointer<Float>) throws(Fault) -> Void
public typealias StateWriter =
  (_ range: Range<Int>, _ values: UnsafeMutableBufferPointer<Float>) throws(Fault) -> Void

extension DistributedOptimizer {
  /// What is stored per parameter, besides the step.
  public var stateKinds: [StateKind] {
    if case .sgd = options.rule { return [.master, .momentum] }
    return [.master, .firstMoment, .secondMoment]
  }

  /// Every run of a parameter that this rank owns, in registration order. Without a distributed
  /// optimizer all ranks own all: data-parallel rank 0 is the one to write.
  public var ownedStates: [OwnedState] {
    var runs: [(index: Int, state: OwnedState)] = []
    for part in parts {
      for segment in part.store.segments {
        let parameter = parameters[segment.index].parameter
        runs.append(
          (
            segment.index,
            OwnedState(
              name: parameter.name, isExpert: parameter.role.isExpert, range: segment.range,
              shape: parameter.shape)
          ))
      }
    }
    return runs.sorted {
      ($0.index, $0.state.range.lowerBound) < ($1.index, $1.state.range.lowerBound)
    }
    .map(\.state)
  }

  /// Hands the states of `kind` of a parameter's owned runs to `body`, as fp32, in pieces of
  /// ascending range. The master is exact, whatever it is stored as.
  /// - Parameter elements: only these elements of the local tensor; nil for all that are owned.
  /// - Throws: `OPTIM-401` for an unknown name or kind; `OPTIM-302`; what `body` throws.
  public func exportState(
    _ kind: StateKind, of name: String, elements: Range<Int>? = nil, _ body: StateReader
  ) throws(Fault) {
    if kind == .master, !hasMasters { try refreshMasters() }
    for (part, index) in try segments(of: name, kind) {
      let segment = part.store.segments[index]
      let start = segment.range.lowerBound
      let wanted = (elements ?? segment.range).clamped(to: segment.range).shifted(by: -start)
      let blocks = part.store.blocks(of: [index], [.read], fitsScratch: true)
        .filter { $0.range.overlaps(wanted) }
      try part.store.visit(blocks) { (visit, states) throws(Fault) in
        self.load(kind, part, visit, states)
        let common = visit.range.clamped(to: wanted)
        let skipped = common.lowerBound - visit.range.lowerBound
        try body(
          common.shifted(by: start),
          UnsafeBufferPointer(start: part.update.scratch(0) + skipped, count: common.count))
      }
    }
  }

  /// Fills the states of `kind` of a parameter's owned runs with what `body` writes. It may be
  /// asked for a range twice (types with a scale). A master also sets the weight to its rounding,
  /// unless it is stored in fp16: then the weight was cast from a value that is not kept.
  /// Call `finishImport` after the last.
  /// - Parameter scale: the scale to store an owned run with, as `stateScale` gave it; nil to find
  ///   one. Only with the old scale the same bits are stored again.
  /// - Throws: `OPTIM-401` for an unknown name or kind; `OPTIM-302`; what `body` throws.
  public func importState(
    _ kind: StateKind, of name: String, scale: (Range<Int>) -> Float? = { _ in nil },
    _ body: StateWriter
  ) throws(Fault) {
    for (part, index) in try segments(of: name, kind) {
      try fill(kind, part, index, scale: scale(part.store.segments[index].range), body)
    }
  }

  /// The scale that the states of an owned run are stored with; nil for types without one.
  public func stateScale(_ kind: StateKind, of name: String, run: Range<Int>) -> Float? {
    guard let places = places[name] else { return nil }
    for place in places where parts[place.part].store.segments[place.segment].range == run {
      let store = parts[place.part].store
      return store.format.top(of: kind) == nil ? nil : store.scales[place.segment][kind]
    }
    return nil
  }

  /// Ends an import: `step` updates were made so far, and every rank gets all weights.
  /// - Parameter hasMasters: masters were imported; otherwise they are taken from the weights.
  /// - Communication: weights over their groups.
  /// - Throws: `COMM-…`, `MEM-001`, `OPTIM-302`.
  public func finishImport(step: Int, hasMasters: Bool) throws(Fault) {
    stepCount = max(0, step)
    try exchange.finishGather()
    if hasMasters {
      self.hasMasters = true
      try roundWeights()
      try exchange.gather()
    } else {
      try refreshMasters()
    }
  }

  /// Takes the master weights from the model's weights (new run, `no_load_optim`, fine-tuning).
  /// `step` does it once if neither this nor an import was called.
  /// - Throws: `OPTIM-302` on every rank.
  public func refreshMasters() throws(Fault) {
    try agree { () throws(Fault) in
      for part in self.parts where part.store.format.master != .weight {
        for segment in part.store.segments.indices {
          try self.refreshMaster(part, segment)
        }
      }
    }
    hasMasters = true
  }

  private func refreshMaster(_ part: StatePart, _ index: Int) throws(Fault) {
    let segment = part.store.segments[index]
    let start = segment.range.lowerBound
    try fill(.master, part, index, scale: nil) { (range, values) in
      let weights = self.weight(segment, range.shifted(by: -start))
      self.engine.kernel {
        ck_convert(
          $0, weights.count, weights.dtype.kernelType, weights.address, CK_F32,
          values.baseAddress)
      }
    }
  }

  private func segments(
    of name: String, _ kind: StateKind
  ) throws(Fault) -> [(part: StatePart, segment: Int)] {
    guard stateKinds.contains(kind) else {
      throw Fault(
        .stateMismatch, "this optimizer has no state \(kind.rawValue)", at: .tensor(name),
        expected: stateKinds.map(\.rawValue).joined(separator: ", "))
    }
    guard let places = places[name] else {
      throw Fault(.stateMismatch, "the optimizer trains no parameter \(name)", at: .tensor(name))
    }
    return places.map { (parts[$0.part], $0.segment) }
  }
}

extension Range<Int> {
  func shifted(by distance: Int) -> Range<Int> { lowerBound + distance..<upperBound + distance }
}
