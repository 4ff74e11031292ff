import CKernels
import Support
import Tensor

// n trained tokens of the row   c tokens of one chunk   h hidden size   v/tp local vocabulary

/// Output layer and cross-entropy in one, for trained tokens only.
///
///     z = x · wᵀ;   m = max z;   q = Σ exp(z − m);   loss = log q − (z[y] − m)
///     dz = (exp(z − m)/q − onehot) · seed · weight;   dx = Σ over tp of dz · w;   dw = dzᵀ · x
///
/// Logits exist for `chunkRows` tokens at a time and are never held for the row: the gradient of a
/// chunk is formed while its logits are there, so the backward pass only hands it on. The sums over
/// the vocabulary are cut in canonical parts and added as a tree over parts, then ranks.
/// - Source: Shoeybi et al. 2019, section 3 (vocabulary split); training.md 1.3 for ignored labels.
public struct VocabParallelCrossEntropy: Sendable {
  public let weight: Parameter  // [v/tp, h]
  public let firstID: Int
  /// Canonical chunks of this rank's vocabulary.
  public let vocabularyChunks: Int
  public let adapter: LowRankPair?

  /// Tokens whose logits are formed together. Part of the order of additions: do not tune it.
  static let chunkRows = 256

  public init(
    weight: Parameter, firstID: Int, vocabularyChunks: Int, adapter: LowRankPair? = nil
  ) {
    self.weight = weight
    self.adapter = adapter
    self.firstID = firstID
    self.vocabularyChunks = vocabularyChunks
  }

  /// Logits of this rank's vocabulary, adapter included, nothing dropped: `[t, v/tp]` fp32.
  /// - Parameter x: `[t, h]`, all rows.
  public func logits(_ x: Tensor) throws(Fault) -> Tensor {
    let logits = try Tensor([x.rows, weight.shape[0]], .float32, on: x.engine)
    x.engine.multiply(Product(.forward, x, weight.tensor, into: logits))
    guard let adapter else { return logits }
    let u = try Tensor([x.rows, adapter.width], adapter.dtype, on: x.engine)
    x.engine.multiply(
      Product(.forward, try x.converted(to: adapter.dtype), adapter.a.tensor, into: u))
    x.engine.multiply(Product(.forward, u, try adapter.scaledB(), into: logits, adds: true))
    return logits
  }

  /// Labels of a row: already shifted, −100 = not trained.
  public struct Labels: Sendable {
    public let shifted: [Int32]
    public let weights: [Float]?
    /// Dynamic fine-tuning: the loss of a token times its own (detached) probability.
    public var scalesByProbability = false
    public init(shifted: [Int32], weights: [Float]?, scalesByProbability: Bool = false) {
      self.shifted = shifted
      self.weights = weights
      self.scalesByProbability = scalesByProbability
    }
  }

  public struct Result: Sendable {
    /// The value to seed with 1; its gradient runs through the row.
    public let loss: Value
    /// Loss of each token after weights, 0 where not trained; equal on all ranks.
    public let perToken: [Float]
    public let trainedTokens: Int
    /// Trained tokens whose label no logit exceeds; equal on all ranks.
    public let rightTokens: Int
  }

  /// - Parameters:
  ///   - x: `[t, h]` after the final norm, `copied` over tp; or `[t/tp, h]`, `split(0)`.
  ///   - plain: `x` before it entered the region, where the layer has an adapter: the gradient that goes
  ///     through its A is complete on every rank.
  /// - Throws: `SHAPE-101`, `PLACE-201`, `DATA-301` for a label outside the vocabulary.
  /// - Communication (tp): per chunk a maximum of `c`, a sum of `2c` floats; at the end of the
  ///   row the all-reduce of `n·h` fp32 (whole rows) or a reduce-scatter of `t·h`.
  public func callAsFunction(
    _ x: Value, beside plain: Value? = nil, _ labels: Labels, in context: Context
  ) throws(Fault) -> Result {
    let setting = context.setting
    try x.require(
      .tp, [setting.sequenceParallel ? .split(0) : .copied], in: "VocabParallelCrossEntropy")
    let whole = setting.sequenceParallel ? try setting.groups.tp.gathered(x.tensor) : x.tensor
    let trained = labels.shifted.indices.filter { labels.shifted[$0] != -100 }.map(Int32.init)
    let trains = weight.isTrainable || adapter?.isTrainable ?? false
    let differentiates = context.tape.isRecording && (x.wantsGradient || trains)
    let adapted = try adapter.map { (pair) throws(Fault) in
      try OutputAdapter(
        pair, keys: context.rowKeys(pair, 0..<setting.layout.tokens), rows: trained,
        width: whole.rowSize, chunks: vocabularyChunks, tp: setting.groups.tp,
        differentiates: differentiates)
    }
    var work = CrossEntropyWork(
      layer: self, tp: setting.groups.tp, x: whole, rows: trained, labels: labels,
      seed: setting.seeds.token, differentiates: differentiates, adapter: adapted)
    try work.run()
    let sum = work.perToken.reduce(0.0) { $0 + Double($1) }
    let loss = try Tensor([Float(sum)], [1], on: whole.engine)
    guard differentiates, let gradient = work.rowGradient else {
      return Result(
        loss: Value(loss), perToken: work.perToken, trainedTokens: trained.count,
        rightTokens: work.rightTokens)
    }
    let value = context.tape.record(
      loss, .same, from: adapted == nil ? [x] : [x, plain ?? x], trains: trains,
      LinearCrossEntropy(
        gradient: gradient, adapterGradient: adapted?.rowGradient, rows: trained,
        shape: whole.shape, dtype: x.dtype,
        tp: setting.groups.tp, sequenceParallel: setting.sequenceParallel))
    return Result(
      loss: value, perToken: work.perToken, trainedTokens: trained.count,
      rightTokens: work.rightTokens)
  }
}

/// The recorded half: hands on the gradient that the forward pass formed.
struct LinearCrossEntropy: Operation {
  static let name: StaticString = "linearCrossEntropy"
  let gradient: Tensor  // [n, h] fp32, this rank's summand
  /// What goes through the adapter: complete on every rank.
  let adapterGradient: Tensor?
  let rows: [Int32]
  let shape: [Int]  // [t, h]
  let dtype: DType
  let tp: any Communicator
  let sequenceParallel: Bool

  var savedBytes: Int { gradient.byteCount + (adapterGradient?.byteCount ?? 0) }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    guard wanting.contains(0) else { return adapterGradient == nil ? [nil] : [nil, nil] }
    let all = try inPlace(gradient)
    // Without sequence parallelism the sum over ranks is the all-reduce of `enterRegion`.
    let dx = sequenceParallel ? try tp.sumScattered(all, as: dtype) : all
    guard let adapterGradient else { return [dx] }
    let own = try inPlace(adapterGradient).converted(to: dtype)
    return [dx, sequenceParallel ? try tp.ownRows(of: own) : own]
  }

  /// The rows of trained tokens at their places, zeros elsewhere.
  private func inPlace(_ gradient: Tensor) throws(Fault) -> Tensor {
    var place = [Int32](repeating: -1, count: shape[0])
    for (i, row) in rows.enumerated() { place[Int(row)] = Int32(i) }
    let all = try Tensor(shape, .float32, on: gradient.engine)
    place.withUnsafeBufferPointer {
      gradient.engine.gatherRows(gradient, $0.baseAddress!, into: all)
    }
    return all
  }
}
