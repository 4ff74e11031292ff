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

  /// Tokens whose logits are formed together. Part of the order of additions: do not tune it.
  static let chunkRows = 256

  public init(weight: Parameter, firstID: Int, vocabularyChunks: Int) {
    self.weight = weight
    self.firstID = firstID
    self.vocabularyChunks = vocabularyChunks
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

  /// - Parameter x: `[t, h]` after the final norm, `copied` over tp; or `[t/tp, h]`, `split(0)`.
  /// - Throws: `SHAPE-101`, `PLACE-201`, `DATA-301` for a label outside the vocabulary.
  /// - Communication (tp): per chunk a maximum of `c`, a sum of `2c` floats; at the end of the
  ///   row the all-reduce of `n·h` fp32 (whole rows) or a reduce-scatter of `t·h`.
  public func callAsFunction(_ x: Value, _ labels: Labels, in context: Context) throws(Fault)
    -> Result
  {
    let setting = context.setting
    try x.require(
      .tp, [setting.sequenceParallel ? .split(0) : .copied], in: "VocabParallelCrossEntropy")
    let whole = setting.sequenceParallel ? try setting.groups.tp.gathered(x.tensor) : x.tensor
    let trained = labels.shifted.indices.filter { labels.shifted[$0] != -100 }.map(Int32.init)
    let differentiates = context.tape.isRecording && (x.wantsGradient || weight.isTrainable)
    var work = CrossEntropyWork(
      layer: self, tp: setting.groups.tp, x: whole, rows: trained, labels: labels,
      seed: setting.seeds.token, differentiates: differentiates)
    try work.run()
    let sum = work.perToken.reduce(0.0) { $0 + Double($1) }
    let loss = try Tensor([Float(sum)], [1], on: whole.engine)
    guard differentiates, let gradient = work.rowGradient else {
      return Result(
        loss: Value(loss), perToken: work.perToken, trainedTokens: trained.count,
        rightTokens: work.rightTokens)
    }
    let value = context.tape.record(
      loss, .same, from: [x], trains: weight.isTrainable,
      LinearCrossEntropy(
        gradient: gradient, rows: trained, shape: whole.shape, dtype: x.dtype,
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
  let rows: [Int32]
  let shape: [Int]  // [t, h]
  let dtype: DType
  let tp: any Communicator
  let sequenceParallel: Bool

  var savedBytes: Int { gradient.byteCount }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    guard wanting.contains(0) else { return [nil] }
    let engine = gradient.engine
    var place = [Int32](repeating: -1, count: shape[0])
    for (i, row) in rows.enumerated() { place[Int(row)] = Int32(i) }
    let all = try Tensor(shape, .float32, on: engine)
    place.withUnsafeBufferPointer { engine.gatherRows(gradient, $0.baseAddress!, into: all) }
    // Without sequence parallelism the sum over ranks is the all-reduce of `enterRegion`.
    return [sequenceParallel ? try tp.sumScattered(all, as: dtype) : all]
  }
}
