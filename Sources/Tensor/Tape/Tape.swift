import Support

/// Told when an operation has been computed, to find out where the time goes.
public protocol TapeObserver: AnyObject {
  /// The forward pass of `operation` has just ended; what ran since the last call belongs to it.
  func recorded(_ operation: StaticString)
  /// The backward pass of `operation` has just ended.
  func differentiated(_ operation: StaticString)
}

/// The record of one forward pass: coarse operations in order, walked in reverse for gradients.
/// One tape per micro-batch in flight; a recomputed block opens its own.
///
/// Not Sendable by design: a tape belongs to the thread that drives its rank.
public final class Tape {
  private struct Record {
    var operation: (any Operation)?
    let inputs: [Int?]
    let dtype: DType
  }

  private var records: [Record] = []
  private var gradients: [Tensor?] = []
  private var watched: [Int: Tensor?] = [:]
  /// False for evaluation and for the first pass of a recomputed block: nothing is kept.
  public let isRecording: Bool

  private let observer: (any TapeObserver)?

  public init(recording: Bool = true, observer: (any TapeObserver)? = nil) {
    isRecording = recording
    self.observer = observer
  }

  /// A value whose gradient will be asked for after the backward pass.
  public func leaf(_ tensor: Tensor, _ placement: Placement = .same) -> Value {
    guard isRecording else { return Value(tensor, placement) }
    return Value(tensor, placement, node: append(nil, [], tensor.dtype))
  }

  /// Notes that `operation` made `output` from `inputs`.
  ///
  /// Nothing is kept when no gradient flows through: neither into an input nor into a trainable
  /// `parameter`.
  public func record<O: Operation>(
    _ output: Tensor, _ placement: Placement, from inputs: [Value], trains parameter: Bool = false,
    _ operation: @autoclosure () -> O
  ) -> Value {
    observer?.recorded(O.name)
    guard isRecording, parameter || inputs.contains(where: \.wantsGradient) else {
      return Value(output, placement)
    }
    return Value(
      output, placement, node: append(operation(), inputs.map(\.node), output.dtype))
  }

  private func append(_ operation: (any Operation)?, _ inputs: [Int?], _ dtype: DType) -> Int {
    records.append(Record(operation: operation, inputs: inputs, dtype: dtype))
    gradients.append(nil)
    return records.count - 1
  }

  /// Adds `gradient` to what is known of `value`'s gradient before the backward pass.
  public func seed(_ value: Value, with gradient: Tensor) throws(Fault) {
    guard let node = value.node else { return }
    try add(gradient, to: node)
  }

  /// Walks the tape from its end. Gradients of a value used several times are added in the order
  /// of the walk. What an operation kept is freed as soon as it has been used.
  public func backward() throws(Fault) {
    for i in records.indices.reversed() {
      guard let operation = records[i].operation else { continue }
      records[i].operation = nil
      guard let dy = gradients[i] else { continue }
      gradients[i] = nil
      if watched[i] != nil { watched[i] = .some(dy) }
      let inputs = records[i].inputs
      let wanting = Set(inputs.indices.filter { inputs[$0] != nil })
      let results = try operation.backward(dy, wanting: wanting)
      observer?.differentiated(type(of: operation).name)
      for (input, gradient) in zip(inputs, results) {
        if let input, let gradient { try add(gradient, to: input) }
      }
    }
  }

  /// Keeps the gradient of an inner value for a probe.
  public func watch(_ value: Value) {
    if let node = value.node { watched[node] = .some(nil) }
  }

  /// The gradient of a watched value after the backward pass.
  public func watchedGradient(of value: Value) -> Tensor? {
    value.node.flatMap { watched[$0] ?? gradients[$0] }
  }

  /// The gradient of a leaf after the backward pass; nil if nothing reached it.
  public func gradient(of value: Value) -> Tensor? { value.node.flatMap { gradients[$0] } }

  /// Bytes kept for the backward pass, as the operations count them.
  public var savedBytes: Int { records.reduce(0) { $0 + ($1.operation?.savedBytes ?? 0) } }
  public var operationCount: Int { records.count }

  private func add(_ gradient: Tensor, to node: Int) throws(Fault) {
    guard let known = gradients[node] else {
      gradients[node] = gradient
      return
    }
    // Never in place: a gradient may be shared with another value's.
    let wide = known.dtype == .float32 || gradient.dtype == .float32
    let sum = try Tensor(known.shape, wide ? .float32 : known.dtype, on: known.engine)
    known.engine.add(known, gradient, into: sum)
    gradients[node] = sum
  }
}
