import Foundation
import Support

/// `train.json`: hyperparameters and the runs of the reference.
struct GoldenCurves {
  /// Where the rows lie.
  let folder: String
  let steps: Int
  let lr: Double
  let minLR: Double
  let warmup: Int
  let betas: (Double, Double)
  let epsilon: Double
  let weightDecay: Double
  let clip: Double
  let auxCoefficient: Double
  let runs: [Run]
  let bands: JSONValue
  /// What another order of additions changes, per step, by the name of the run.
  let noise: JSONValue

  /// Whether the trained model has experts.
  var isMixture: Bool {
    runs.contains { $0.final?.object?.keys.contains { $0.contains(".experts.") } ?? false }
  }

  struct Run {
    let name: String
    let isPerToken: Bool
    /// `megatron`, or nil without an auxiliary loss.
    let auxiliary: String?
    let lrScale: Double
    let isBF16: Bool
    let frozenPrefixes: [String]
    let steps: [JSONValue]
    let final: JSONValue?
    /// Runs with another attention kernel or another library's auxiliary loss.
    var isInformation: Bool { name.hasSuffix("_eager") || name.hasSuffix("_aux_hf") }
  }

  struct Result {
    var steps: [(loss: Double, norm: Double, lr: Double)] = []
    var final: [(name: String, values: [Float])] = []

    var json: JSONValue {
      var root = JSONObject()
      root["steps"] = .array(
        steps.enumerated().map { i, step in
          .object(
            JSONObject([
              ("step", JSONValue(i)), ("lr", JSONValue(step.lr)), ("loss", JSONValue(step.loss)),
              ("grad_norm", JSONValue(step.norm)),
            ]))
        })
      root["final_parameters"] = .object(
        JSONObject(final.map { ($0.name, TensorSummary($0.values).json) }))
      return .object(root)
    }
  }

  /// nil when the folder has no `train.json`.
  /// - Parameter rows: the folder of `train.safetensors`, when it is another.
  init?(folder: String, rows: String? = nil) throws(Fault) {
    let path = folder + "/train.json"
    guard let data = FileManager.default.contents(atPath: path) else { return nil }
    let root: JSONValue
    do { root = try JSONValue.parse(String(decoding: data, as: UTF8.self)) } catch {
      throw Fault(.badJSON, error.reason, at: .file(path, line: error.line))
    }
    guard let h = root["hyperparameters"], let all = root["runs"]?.object else {
      throw Fault(.badJSON, "no hyperparameters or runs", at: .file(path))
    }
    self.folder = rows ?? folder
    steps = h["steps"]?.int ?? 20
    lr = h["lr"]?.double ?? 1e-3
    minLR = h["min_lr"]?.double ?? 0
    warmup = h["warmup_steps"]?.int ?? 0
    let b = h["betas"]?.array?.compactMap(\.double) ?? [0.9, 0.95]
    betas = (b[0], b.count > 1 ? b[1] : 0.95)
    epsilon = h["eps"]?.double ?? 1e-8
    weightDecay = h["weight_decay"]?.double ?? 0.1
    clip = h["clip"]?.double ?? 1
    auxCoefficient = h["aux_coeff"]?.double ?? 0
    bands = root["bands"] ?? .null
    noise = root["eager_attention_differences"] ?? .null
    runs = all.members.map { name, value in
      Run(
        name: name, isPerToken: value["norm"]?.string == "token", auxiliary: value["aux"]?.string,
        lrScale: value["lr_scale"]?.double ?? 1, isBF16: value["bf16"]?.bool ?? false,
        frozenPrefixes: value["frozen_prefixes"]?.array?.compactMap(\.string) ?? [],
        steps: value["steps"]?.array ?? [], final: value["final_parameters"])
    }
  }

  /// Rate of update `i` (from 0): linear from 0 over the warm-up, then a cosine to the floor.
  func rate(_ i: Int, scale: Double) -> Double {
    if i < warmup { return Double(i) / Double(warmup) * lr * scale }
    let part = Double(i - warmup) / Double(max(1, steps - warmup))
    let floor = minLR * scale
    return floor + 0.5 * (1 + cos(.pi * part)) * (lr * scale - floor)
  }
}

/// What `final_parameters` says of a tensor.
struct TensorSummary {
  let l2: Double
  let sum: Double
  let absoluteSum: Double
  let head: [Float]
  let tail: [Float]

  init(_ values: [Float]) {
    l2 = values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    sum = values.reduce(0.0) { $0 + Double($1) }
    absoluteSum = values.reduce(0.0) { $0 + abs(Double($1)) }
    head = Array(values.prefix(4))
    tail = Array(values.suffix(4))
  }

  var json: JSONValue {
    .object(
      JSONObject([
        ("l2", JSONValue(l2)), ("sum", JSONValue(sum)), ("abs_sum", JSONValue(absoluteSum)),
        ("head", .array(head.map { JSONValue(Double($0)) })),
        ("tail", .array(tail.map { JSONValue(Double($0)) })),
      ]))
  }
}
