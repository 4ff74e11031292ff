import Support
import Tensor

/// Moves rows to the ranks of their experts and back.
///
/// `dispatch` gathers the kept rows in sending order, exchanges them over ep and, when experts are
/// themselves split, gathers them over etp; `combine` is the way back, ending in the sum of the
/// copies of each row (fp32, one rounding). The backward pass of one is the path of the other.
/// - Communication (ep): all-to-all of `S·h` elements each way, forward and backward; (etp) all-gather
///   and reduce-scatter of `R·h`.
/// - Source: Shazeer et al. 2017; Rajbhandari et al. 2022.
public struct TokenDispatcher: Sendable {
  let routing: Routing
  let ep: any Communicator
  let etp: any Communicator

  public init(_ routing: Routing, groups: ModelGroups) {
    self.routing = routing
    ep = groups.ep
    etp = groups.etp
  }

  /// - Parameter x: `[t/tp, h]`.
  /// - Returns: `[buffer rows, h]`, `split(0)` over ep.
  public func dispatch(_ x: Value, on tape: Tape) throws(Fault) -> Value {
    let rows = try forward(try sent(x.tensor))
    return tape.record(
      rows, x.placement.with(.ep, .split(0)), from: [x],
      DispatchRows(dispatcher: self, shape: x.shape, dtype: x.dtype))
  }

  /// - Parameter gates: `[t/tp, k]` fp32.
  /// - Returns: `[computed rows]` fp32, in the order of the experts.
  public func dispatch(gates: Value, on tape: Tape) throws(Fault) -> Value {
    let engine = gates.tensor.engine
    let sent = try Tensor([routing.sentSlots.count, 1], .float32, on: engine)
    if !engine.isPlanning {
      for (i, slot) in routing.sentSlots.enumerated() {
        sent.floats[i] = slot < 0 ? 0 : gates.tensor.floats[Int(slot)]
      }
    }
    let buffer = try forward(sent)
    let ordered = try Tensor([routing.computedRows], .float32, on: engine)
    if !engine.isPlanning {
      for (i, row) in routing.expertRows.enumerated() {
        ordered.floats[i] = buffer.floats[Int(row)]
      }
    }
    return tape.record(
      ordered, gates.placement.with(.ep, .split(0)), from: [gates],
      DispatchGates(dispatcher: self, shape: gates.shape))
  }

  /// - Parameters:
  ///   - rows: `[buffer rows, h]`; fp32 summands when experts are split, else the activation type.
  ///   - like: the value that was dispatched; gives the shape and type of the result.
  /// - Returns: `[t/tp, h]`.
  public func combine(_ rows: Value, like x: Value, on tape: Tape) throws(Fault) -> Value {
    let returned = try backward(rows.tensor, as: x.dtype)
    let y = try summed(returned, shape: x.shape)
    return tape.record(
      y, x.placement, from: [rows], CombineRows(dispatcher: self))
  }

  /// Rows of x in sending order: `[S, h]`.
  func sent(_ x: Tensor) throws(Fault) -> Tensor {
    let out = try Tensor([routing.sentRows.count] + x.shape.dropFirst(), x.dtype, on: x.engine)
    routing.sentRows.withUnsafeBufferPointer {
      if let rows = $0.baseAddress { x.engine.gatherRows(x, rows, into: out) }
    }
    return out
  }

  /// Σ of the copies of each row: `[t/tp, h]`; dropped ones count as nothing, and rows that were
  /// added for the layout have none.
  func summed(_ sent: Tensor, shape: [Int]) throws(Fault) -> Tensor {
    let y = try Tensor(shape, sent.dtype, on: sent.engine)
    let k = routing.topK
    var slots = routing.slotPosition
    slots += [Int32](repeating: -1, count: shape[0] * k - slots.count)
    slots.withUnsafeBufferPointer {
      if let p = $0.baseAddress { sent.engine.combineRows(sent, k: k, p, into: y) }
    }
    return y
  }

  /// The way of rows to their experts.
  func forward(_ sent: Tensor) throws(Fault) -> Tensor {
    let received = try ep.exchange(
      sent, send: routing.sendCounts, receive: routing.receiveCounts)
    guard etp.size > 1 else { return received }
    let block = try Tensor.zeros(
      [routing.blockRows] + received.shape.dropFirst(), received.dtype, on: received.engine)
    if !received.engine.isPlanning {
      block.bytes.copyMemory(from: UnsafeRawBufferPointer(received.bytes))
    }
    return try etp.gathered(block)
  }

  /// The way back; summands of split experts are added first.
  func backward(_ rows: Tensor, as dtype: DType) throws(Fault) -> Tensor {
    var own = rows
    if etp.size > 1 {
      own = try etp.sumScattered(rows, as: dtype).rowRange(0..<routing.receivedRows)
    } else {
      own = try rows.converted(to: dtype)
    }
    return try ep.exchange(own, send: routing.receiveCounts, receive: routing.sendCounts)
  }
}

struct DispatchRows: Operation {
  static let name: StaticString = "dispatch"
  let dispatcher: TokenDispatcher
  let shape: [Int]
  let dtype: DType
  var savedBytes: Int { 0 }
  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    [try dispatcher.summed(try dispatcher.backward(dy, as: dtype), shape: shape)]
  }
}

struct DispatchGates: Operation {
  static let name: StaticString = "dispatchGates"
  let dispatcher: TokenDispatcher
  let shape: [Int]
  var savedBytes: Int { 0 }
  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let routing = dispatcher.routing
    let engine = dy.engine
    let buffer = try Tensor.zeros(
      [routing.bufferRows(etp: dispatcher.etp.size), 1], .float32, on: engine)
    let gates = try Tensor.zeros(shape, .float32, on: engine)
    if !engine.isPlanning {
      for (i, row) in routing.expertRows.enumerated() { buffer.floats[Int(row)] = dy.floats[i] }
    }
    let sent = try dispatcher.backward(buffer, as: .float32)
    if !engine.isPlanning {
      for (i, slot) in routing.sentSlots.enumerated() where slot >= 0 {
        gates.floats[Int(slot)] = sent.floats[i]
      }
    }
    return [gates]
  }
}

struct CombineRows: Operation {
  static let name: StaticString = "combine"
  let dispatcher: TokenDispatcher
  var savedBytes: Int { 0 }
  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    [try dispatcher.forward(try dispatcher.sent(dy))]
  }
}

extension Communicator {
  /// Rows to and from the peers: `send[r]` rows go to rank r, `receive[r]` come from it.
  func exchange(_ x: Tensor, send: [Int], receive: [Int]) throws(Fault) -> Tensor {
    guard size > 1 else { return x }
    let bytes = x.rowSize * x.dtype.size
    let out = try Tensor(
      [receive.reduce(0, +)] + x.shape.dropFirst(), x.dtype, on: x.engine)
    if !x.engine.isPlanning {
      try allToAll(
        UnsafeRawBufferPointer(x.bytes), sendCounts: send.map { $0 * bytes }, into: out.bytes,
        receiveCounts: receive.map { $0 * bytes })
    }
    return out
  }
}
