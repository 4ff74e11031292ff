import CKernels
import Support
import Tensor

/// Causal attention over packed documents. Counted are the operations that a causal mask leaves.
struct AttentionBench {
  let bench: BenchContext
  init(_ bench: BenchContext) { self.bench = bench }

  func run() throws(Fault) {
    let flags = bench.options.bench
    let given = BenchFlags.lengths(flags.lengths) ?? []
    let cases =
      given.isEmpty ? [[1024], [4096], [Int](repeating: 1024, count: 4)] : [given]
    for lengths in cases { try measure(lengths) }
  }

  private func measure(_ lengths: [Int]) throws(Fault) {
    let flags = bench.options.bench
    guard flags.heads % flags.groups == 0 else {
      throw Fault(
        .optionsDisagree, "\(flags.heads) heads cannot share \(flags.groups) key and value heads",
        at: .flag("kv_heads"), expected: "a divisor of --heads")
    }
    let engine = bench.engine
    let heads = FusedHeads(
      groups: flags.groups, ratio: flags.heads / flags.groups, d: flags.headSize)
    let tokens = lengths.reduce(0, +)
    var starts: [Int32] = [0]
    for length in lengths { starts.append(starts[starts.count - 1] + Int32(length)) }
    let layout = try SequenceLayout(starts: starts, realTokens: tokens, on: engine)
    let qkv = try Tensor.noise([tokens, heads.rowSize], bench.type, on: engine)
    let dy = try Tensor.noise([tokens, heads.outputSize], bench.type, on: engine)
    let squares = lengths.reduce(0.0) { $0 + Double($1) * Double($1) }
    let forward = 2 * squares * Double(flags.headSize * flags.heads)
    let shape = JSONObject([
      ("lengths", .array(lengths.map { JSONValue($0) })), ("heads", JSONValue(flags.heads)),
      ("kv_heads", JSONValue(flags.groups)), ("head_dim", JSONValue(flags.headSize)),
    ])
    var fault: Fault?
    let run = { (differentiates: Bool) in
      do throws(Fault) {
        let tape = Tape()
        let input = tape.leaf(qkv, Placement.same.with(.tp, .split(1)))
        let output = try tape.attention(input, heads, layout)
        guard differentiates else { return }
        try tape.seed(output, with: dy)
        try tape.backward()
      } catch { fault = error }
    }
    let one = bench.measure { run(false) }
    if let fault { throw fault }
    try bench.say("attention", "forward", bench.type, shape, one, operations: forward)
    let both = bench.measure { run(true) }
    if let fault { throw fault }
    // The backward pass has five products where the forward pass has two.
    try bench.say(
      "attention", "forward_backward", bench.type, shape, both, operations: 3.5 * forward)
  }
}
