import Checkpoint
import DataPipeline
import Foundation
import Model
import Parallel
import Support
import Tensor

/// `--test_convert_precision`: both models on one sample, their logits and weights compared.
struct ConversionTest {
  let options: ExportOptions
  let folder: ModelFolder
  let engine: Engine
  let output: String

  private var dtype: DType {
    options.export.testConvertDType == "bfloat16" ? .bfloat16 : .float32
  }

  /// - Returns: whether every tensor is equal, byte for byte; where the type was changed on purpose,
  ///   after the same rounding.
  func run() throws(Fault) -> Bool {
    let checkpoint = options.export.toMcore ? output : options.export.mcoreModel ?? output
    let published = options.export.toMcore ? folder.path : output
    let paths = options.export.toMcore ? (published, checkpoint) : (checkpoint, published)
    let found = try StoreDifference(a: paths.0, b: paths.1, model: folder.path, rounds: true).run()
    for line in found.lines { Terminal.write(line + "\n", to: .output) }
    Terminal.write(
      "tensors: \(found.equal) equal byte for byte, \(found.lines.count) different\n", to: .output)
    if try fitsMemory() { try compareLogits(published, checkpoint) }
    return found.isEqual
  }

  /// One model at a time lies in memory.
  private func compareLogits(_ published: String, _ checkpoint: String) throws(Fault) {
    let location = try CheckpointLocator.resolve(checkpoint)
    let row = try sample()
    let x = try logits("published", row) { () throws(Fault) in
      try model(PublishedWeightSource(try PublishedFolder(published), folder.config))
    }
    let y = try logits("megatron", row) { () throws(Fault) in
      try model(try MegatronWeights(location.folder, folder.config))
    }
    compare(x, y, row)
  }

  /// Whether a model of the test's type fits into the memory that is free now.
  private func fitsMemory() throws(Fault) -> Bool {
    let needed = NameMap(folder.config).all.reduce(0) { $0 + $1.shape.reduce(dtype.size, *) }
    guard let free = ProcessMemory.availableBytes, free < needed else { return true }
    Terminal.write(
      "logits are not compared: the model needs \(ByteMeter.size(needed)), "
        + "\(ByteMeter.size(free)) are free; all tensors were compared\n", to: .output)
    return false
  }

  private func model(_ source: some WeightSource) throws(Fault) -> QwenModel {
    let model = try QwenModel(
      folder.config, layout: ModelLayout(), dtype: dtype, router: RouterOptions(folder.config),
      on: engine)
    try model.load(from: source)
    return model
  }

  /// A short conversation through the folder's own tokenizer; plain ids when there is none.
  private func sample() throws(Fault) -> ModelRow {
    var ids: [Int32] = (0..<32).map { Int32(($0 * 37 + 11) % folder.config.vocabularySize) }
    if FileManager.default.fileExists(atPath: folder.path + "/tokenizer.json") {
      let text =
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\nParis."
      ids = try Tokenizer(folder: folder.path).encode(text)
    }
    let trained = ids.count / 2
    let labels = ids.enumerated().map { $0.offset < trained ? -100 : $0.element }
    return try ModelRow(
      PackedBatch(
        inputIDs: ids, labels: labels, lossScale: nil, positions: (0..<Int32(ids.count)).map { $0 },
        cuSeqlens: [0, Int32(ids.count)], channels: [nil], sampleCount: 1),
      multiple: 1, padID: 0, vocabulary: folder.config.vocabularySize, on: engine)
  }

  private func logits(
    _ name: String, _ row: ModelRow, _ make: () throws(Fault) -> QwenModel
  ) throws(Fault) -> [Float] {
    let model = try make()
    say(name, model)
    let alone = SelfWorld()
    let setting = Setting(
      engine: engine, groups: ModelGroups(tp: alone, ep: alone, etp: alone),
      sequenceParallel: false, layout: row.layout, isTraining: false)
    return try model.logits(
      row.input, in: Context(tape: Tape(recording: false), setting: setting)
    ).values
  }

  private func say(_ name: String, _ model: QwenModel) {
    var sum = 0.0
    var zeros = 0
    for parameter in model.parameters {
      let values = parameter.tensor.values
      let own = values.reduce(0.0) { $0 + abs(Double($1)) }
      sum += own
      if own == 0 { zeros += 1 }
    }
    Terminal.write(
      "\(name): n_parameter: \(model.parameters.count), total_sum: \(sum), zero_count: \(zeros)\n",
      to: .output)
  }

  private func compare(_ x: [Float], _ y: [Float], _ row: ModelRow) {
    let v = folder.config.vocabularySize
    var all = Spread()
    var trained = Spread()
    var tokens = 0
    for t in 0..<row.realTokens {
      for j in 0..<v {
        let difference = abs(Double(x[t * v + j]) - Double(y[t * v + j]))
        all.add(difference)
        if row.input.labels.shifted[t] != -100 { trained.add(difference) }
      }
      if argmax(x, t, v) != argmax(y, t, v) { tokens += 1 }
    }
    Terminal.write(
      "mean_diff: \(all.mean), max_diff: \(all.maximum)\n"
        + "mean_diff (with loss): \(trained.mean), max_diff (with loss): \(trained.maximum) "
        + "(Please check that mean_diff (with loss) is less than 0.1).\n"
        + "hf_tokens: \((0..<row.realTokens).map { argmax(x, $0, v) })\n"
        + "mg_tokens: \((0..<row.realTokens).map { argmax(y, $0, v) })\n"
        + "token_diff: \(tokens)\n", to: .output)
  }

  private func argmax(_ z: [Float], _ t: Int, _ v: Int) -> Int {
    (0..<v).max { z[t * v + $0] < z[t * v + $1] } ?? 0
  }

  private struct Spread {
    var sum = 0.0
    var count = 0
    var maximum = 0.0
    var mean: Double { count > 0 ? sum / Double(count) : 0 }
    mutating func add(_ value: Double) {
      sum += value
      count += 1
      maximum = max(maximum, value)
    }
  }
}
