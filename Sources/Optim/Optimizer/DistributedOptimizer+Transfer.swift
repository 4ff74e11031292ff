import CKernels
import Support
import Tensor

extension DistributedOptimizer {
  /// Fills one quantity of a segment, in two walks when its scale must be found first.
  func fill(
    _ kind: StateKind, _ part: StatePart, _ segment: Int, scale known: Float?, _ body: StateWriter
  ) throws(Fault) {
    let store = part.store
    let top = store.format.top(of: kind)
    var largest: Float = 0
    let phases: [StatePhase] = top == nil || known != nil ? [.apply] : [.measure, .apply]
    let blocks = store.blocks(of: [segment], phases, fitsScratch: true)
    try store.visit(blocks) { (visit, states) throws(Fault) in
      let values = UnsafeMutableBufferPointer(
        start: part.update.scratch(0), count: visit.range.count)
      try body(visit.range.shifted(by: store.segments[segment].range.lowerBound), values)
      if visit.phase == .measure {
        largest = StateMagnitudes.larger(
          largest, part.update.codec.largest(part.update.scratch(0), visit.range.count))
        return
      }
      let scale = top.map { known ?? ScaledCodec.scale(largest: largest, top: $0) } ?? 0
      self.save(kind, part, visit, states, scale: scale)
      if top != nil { store.scales[segment][kind] = scale }
    }
  }

  /// Widens a quantity of a block into scratch.
  func load(_ kind: StateKind, _ part: StatePart, _ visit: StateBlock, _ states: StatePointers) {
    let format = part.store.format
    let n = visit.range.count
    let target = part.update.scratch(0)
    let scales = part.store.scales[visit.segment]
    let codec = part.update.codec
    switch kind {
    case .firstMoment, .momentum:
      codec.load(states.first, n, as: format.first, scale: scales.first, into: target)
    case .secondMoment:
      guard let second = format.second else { return }
      codec.load(states.second, n, as: second, scale: scales.second, into: target)
    case .master:
      let weights = weight(part.store.segments[visit.segment], visit.range)
      switch format.master {
      case .weight:
        codec.load(weights.address, n, as: .float32, scale: 0, into: target)
      case .float32:
        codec.load(states.master, n, as: .float32, scale: 0, into: target)
      case .float16:
        codec.load(states.master, n, as: .float16, scale: scales.master, into: target)
      case .remainder:
        codec.join(
          weights.pointer(as: UInt16.self), states.master.assumingMemoryBound(to: Int16.self), n,
          into: target)
      }
    }
  }

  /// Stores a quantity of a block from scratch; a master sets the weight too.
  private func save(
    _ kind: StateKind, _ part: StatePart, _ visit: StateBlock, _ states: StatePointers,
    scale: Float
  ) {
    let format = part.store.format
    let n = visit.range.count
    let source = part.update.scratch(0)
    let codec = part.update.codec
    switch kind {
    case .firstMoment, .momentum:
      codec.store(source, n, as: format.first, scale: scale, into: states.first)
    case .secondMoment:
      guard let second = format.second else { return }
      codec.store(source, n, as: second, scale: scale, into: states.second)
    case .master:
      let weights = weight(part.store.segments[visit.segment], visit.range)
      if format.master == .remainder {
        return codec.split(
          source, n, weight: weights.pointer(as: UInt16.self),
          remainder: states.master.assumingMemoryBound(to: Int16.self))
      }
      if format.master == .float16 {
        return codec.store(source, n, as: .float16, scale: scale, into: states.master)
      }
      if format.master != .weight {
        codec.store(source, n, as: .float32, scale: scale, into: states.master)
      }
      engine.kernel {
        ck_convert($0, n, CK_F32, source, weights.dtype.kernelType, weights.address)
      }
    }
  }
}

extension StateFormat {
  /// Largest stored magnitude of a quantity with a scale.
  func top(of kind: StateKind) -> Float? {
    switch kind {
    case .master: return master == .float16 ? StateType.float16.top : nil
    case .firstMoment, .momentum: return first.top
    case .secondMoment: return second?.top
    }
  }
}

extension StateScales {
  subscript(kind: StateKind) -> Float {
    get {
      switch kind {
      case .master: return master
      case .firstMoment, .momentum: return first
      case .secondMoment: return second
      }
    }
    set {
      switch kind {
      case .master: master = newValue
      case .firstMoment, .momentum: first = newValue
      case .secondMoment: second = newValue
      }
    }
  }
}
