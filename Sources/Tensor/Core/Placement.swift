import Support

/// How a value lies over one axis of the process mesh. "Axis" is the mesh, "dim" the tensor.
public enum AxisState: Sendable, Equatable {
  /// Equal on all ranks, and so is its gradient.
  case same
  /// Equal on all ranks, but each rank will hold only its part of the gradient's sum.
  case copied
  /// Each rank has a slice along `dim`.
  case split(Int)
  /// Each rank has a summand.
  case partial
}

/// Axes a value can be split over inside a model. Data-parallel ranks hold different values.
public enum PlacementAxis: String, Sendable, CaseIterable {
  case tp, cp, ep, etp
}

/// The state of a value on every axis; `same` where nothing is said.
public struct Placement: Sendable, Equatable, CustomStringConvertible {
  public var tp: AxisState
  public var cp: AxisState
  public var ep: AxisState
  public var etp: AxisState

  public init(
    tp: AxisState = .same, cp: AxisState = .same, ep: AxisState = .same, etp: AxisState = .same
  ) {
    self.tp = tp
    self.cp = cp
    self.ep = ep
    self.etp = etp
  }

  public static let same = Placement()

  public subscript(axis: PlacementAxis) -> AxisState {
    get {
      switch axis {
      case .tp: return tp
      case .cp: return cp
      case .ep: return ep
      case .etp: return etp
      }
    }
    set {
      switch axis {
      case .tp: tp = newValue
      case .cp: cp = newValue
      case .ep: ep = newValue
      case .etp: etp = newValue
      }
    }
  }

  public func with(_ axis: PlacementAxis, _ state: AxisState) -> Placement {
    var result = self
    result[axis] = state
    return result
  }

  public var description: String {
    let parts = PlacementAxis.allCases.filter { self[$0] != .same }.map { "\($0): \(self[$0])" }
    return parts.isEmpty ? "same" : parts.joined(separator: ", ")
  }
}

extension Value {
  /// Refuses a value that is placed in none of the `accepted` ways on `axis`.
  /// - Throws: `PLACE-201`, naming the operation and what entering the region would have done.
  public func require(
    _ axis: PlacementAxis, _ accepted: [AxisState], in operation: StaticString, hint: String = ""
  ) throws(Fault) {
    let state = placement[axis]
    if accepted.contains(state) { return }
    let missing =
      state == .same && accepted.contains(.copied)
      ? "the gradient of this input would be missing an all-reduce over \(axis); enter the region first"
      : hint
    throw Fault(
      .badPlacement, "\(operation) takes no value that is \(state) over \(axis)",
      at: .operation("\(operation)"),
      expected: accepted.map { "\($0)" }.joined(separator: " or "), found: "\(placement)",
      fix: missing.isEmpty ? nil : missing)
  }
}
