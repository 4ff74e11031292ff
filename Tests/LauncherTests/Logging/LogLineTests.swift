import Support
import Testing

@testable import Launcher

@Suite("Log lines and records")
struct LogLineTests {
  static let time = LocalTime(year: 2025, month: 11, day: 3, hour: 4, minute: 5, second: 6)

  static var record: StepRecord {
    var record = StepRecord(iteration: 5, trainIters: 100, consumedSamples: 80)
    record.secondsPerIteration = 1.25
    record.memoryGiB = 3.14159
    record.elapsedSeconds = 3661.9
    record.learningRate = 1e-5
    record.globalBatchSize = 16
    record.losses = [NamedLoss("lm loss", 2.345678901)]
    record.gradNorm = 12.34567891234
    return record
  }

  @Test("the line of a dense model has exactly the fields and widths of the reference")
  func denseLine() {
    let expected =
      " [2025-11-03 04:05:06] iteration        5/     100 | consumed samples:           80 |"
      + " elapsed time per iteration (ms): 1250.0 | memory(GiB): 3.14 | elapsed time: 1h 1m 1s |"
      + " remaining time: 19h 19m 36s | learning rate: 1.000000E-05 | global batch size:    16 |"
      + " lm loss: 2.345679E+00 | loss scale: 1.0 | grad norm: 12.346 |"
      + " number of skipped iterations:   0 | number of nan iterations:   0 |"
    #expect(LogLine.text(Self.record, at: Self.time) == expected)
  }

  @Test("optional fields stand where the reference puts them")
  func optionalFields() {
    var record = Self.record
    record.skippedSamples = 16
    record.throughput = 0.25
    record.losses += [
      NamedLoss("load_balancing_loss", 1.01), NamedLoss("z_loss", 0), NamedLoss("loss_math", 3),
    ]
    record.zeroGradients = 7
    record.paramsNorm = 100
    record.skippedIterations = 1
    let line = LogLine.text(record, at: Self.time)
    #expect(line.contains("| skipped samples:           16 | elapsed time per iteration"))
    #expect(line.contains("| throughput per GPU (TFLOP/s/GPU): 0.2 | learning rate"))
    #expect(
      line.contains(
        "| load_balancing_loss: 1.010000E+00 | z_loss: 0.000000E+00 | loss_math: 3.000000E+00 | loss scale"
      ))
    #expect(
      line.contains(
        "| grad norm: 12.346 | num zeros: 7 | params norm: 100.000 | number of skipped iterations:   1 |"
      ))
  }

  @Test("an evaluation stands between two lines of dashes, with the bounded perplexity")
  func evaluation() {
    let lines = LogLine.text(EvalRecord(iteration: 50, losses: [NamedLoss("lm loss", 2)]))
      .split(separator: "\n").map(String.init)
    #expect(
      lines[1]
        == " validation loss at iteration 50 | lm loss value: 2.000000E+00 | lm loss PPL: 7.389056E+00 | "
    )
    #expect(lines[0] == String(repeating: "-", count: lines[1].count + 1) && lines[2] == lines[0])
    var final = EvalRecord(iteration: 60, losses: [NamedLoss("lm loss", 1000)])
    final.isFinal = true
    let text = LogLine.text(final)
    #expect(
      text.contains("iteration 60 on validation set | ") && text.contains("PPL: 4.851652E+08"))
  }

  @Test(
    "durations leave out larger units while they are 0",
    arguments: [
      (0.0, "0s"), (59.99, "59s"), (60, "1m 0s"), (3600, "1h 0m 0s"), (90061, "1d 1h 1m 1s"),
      (86400, "1d 0h 0m 0s"), (-5, "0s"), (Double.nan, "0s"), (Double.infinity, "0s"),
      (93784, "1d 2h 3m 4s"),
    ])
  func durations(seconds: Double, text: String) {
    #expect(durationText(seconds: seconds) == text)
  }

  @Test("a training record has the keys of the reference in its order, floats with 8 decimals")
  func trainingRecord() {
    var record = Self.record
    record.losses.append(NamedLoss("load_balancing_loss", 1.123456789))
    record.throughput = 1.5
    record.paramsNorm = 2
    let object = JSONRecord.object(record)
    #expect(
      JSONValue.object(object).write(.python)
        == #"{"lm loss": 2.3456789, "load_balancing_loss": 1.12345679, "grad_norm": 12.34567891, "#
        + #""params_norm": 2.0, "learning_rate": 1e-05, "elapsed_time_per_iteration": 1.25, "#
        + #""memory(GiB)": 3.14, "elapsed_time": "1h 1m 1s", "remaining_time": "19h 19m 36s", "#
        + #""throughput": 1.5, "loss_scale": 1.0, "consumed_samples": 80, "#
        + #""global_step/max_steps": "5/100"}"#)
  }

  @Test("values that are not finite keep Python's spelling")
  func notFinite() {
    var record = Self.record
    record.losses = [NamedLoss("lm loss", .nan)]
    record.gradNorm = .infinity
    let text = JSONValue.object(JSONRecord.object(record)).write(.python)
    #expect(text.hasPrefix(#"{"lm loss": NaN, "grad_norm": Infinity, "#))
  }

  @Test("an evaluation record holds the losses and nothing else")
  func evaluationRecord() {
    let record = EvalRecord(
      iteration: 9, losses: [NamedLoss("lm loss", 1.5), NamedLoss("loss_a", 2)])
    #expect(
      JSONValue.object(JSONRecord.object(record)).write(.python)
        == #"{"eval_lm loss": 1.5, "eval_loss_a": 2.0}"#)
  }

  @Test("the form of swift sft has its own keys")
  func swiftRecords() {
    var record = Self.record
    record.tokenAccuracy = 0.5
    record.epoch = 0.25
    #expect(
      JSONRecord.object(record, form: .swift).keys == [
        "loss", "token_acc", "grad_norm", "learning_rate", "epoch", "global_step/max_steps",
        "percentage", "elapsed_time", "remaining_time", "memory(GiB)", "train_speed(iter/s)",
      ])
    #expect(JSONRecord.object(record, form: .swift)["percentage"]?.string == "5.00%")
    var evaluation = EvalRecord(iteration: 5, losses: [NamedLoss("lm loss", 1)])
    evaluation.tokenAccuracy = 0.5
    evaluation.runtimeSeconds = 2
    evaluation.samples = 10
    evaluation.steps = 4
    #expect(
      JSONRecord.object(evaluation, form: .swift).keys == [
        "eval_loss", "eval_token_acc", "eval_runtime", "eval_samples_per_second",
        "eval_steps_per_second",
      ])
  }

  @Test("the remaining time follows the mean speed so far and ends at 0")
  func remaining() {
    var record = StepRecord(iteration: 25, trainIters: 100, consumedSamples: 0)
    record.elapsedSeconds = 50
    #expect(record.remainingSeconds == 150)
    record.iteration = 100
    #expect(record.remainingSeconds == 0)
  }

  @Test("start-up lines have the words users search for")
  func startup() {
    #expect(
      StartupText.parameters(rank: 0, model: "Qwen3", all: 2_000_000, trainable: 500_000)
        == "[rank0] model_parameter_info: Qwen3: 2.0000M Params (0.5000M Trainable [25.0000%]), 0.0000M Buffers."
    )
    #expect(
      StartupText.lengths([1, 3])
        == "Dataset Token Length: 2.000000±1.000000, min=1.000000, max=3.000000, size=2")
    #expect(StartupText.epochStarts(0) == "The training of Epoch 0 starts...")
  }
}
