import Checkpoint
import Foundation
import Optim
import Support
import Tensor
import Testing

@testable import Launcher

@Suite("Training in fp16", .serialized)
struct HalfPrecisionTests {
  /// A first scale that overflows fp32 until it has been halved several times.
  static let words = [
    "--fp16", "true", "--train_iters", "14", "--lr", "1e-3", "--save_interval", "100",
    "--extra_megatron_kwargs",
    #"{"initial_loss_scale": 1e41, "hysteresis": 1, "loss_scale_window": 2}"#,
  ]

  @Test("overflows leave steps out, halve the scale and keep the schedule where it is")
  func overflow() throws {
    let rig = try TrainingRig()
    let run = try rig.run(Self.words)
    let records = try TrainingRig.records(run)
    #expect(records.count == 14)
    var expected = LossScaler(.fp16, run.options.extra)
    var skipped = 0
    var rate = run.schedule.learningRate(samples: 0)
    for record in records {
      let norm = record["grad_norm"]?.double
      let isSkipped = !(norm?.isFinite ?? false)
      expected.update(overflow: isSkipped)
      #expect(record["loss_scale"]?.double == expected.scale)
      let next = try #require(record["learning_rate"]?.double)
      if isSkipped {
        skipped += 1
        #expect(abs(next - rate) < 1e-8)
      }
      rate = next
    }
    #expect(skipped >= 2 && skipped < 14)
    #expect(run.position.skippedSteps == skipped)
    #expect(run.position.iteration == 14 && run.position.consumedTrainSamples == 28)
    #expect(run.position.scheduledSamples == 2 * (14 - skipped))
    #expect(run.optimizer.stepCount == 14 - skipped)
    #expect(run.lossScaler.scale == expected.scale)
  }

  @Test("a skipped step changes no weight, a good one leaves fp16 values")
  func weights() throws {
    let rig = try TrainingRig()
    let run = try rig.build(Self.words)
    let before = run.model.parameters.map(\.tensor.values)
    let step = TrainingStep(run)
    var outcome = try step.make(try Self.rows(run))
    #expect(outcome.isSkipped && outcome.lossScale == 5e40)
    #expect(run.model.parameters.map(\.tensor.values) == before)
    for _ in 0..<40 where outcome.isSkipped { outcome = try step.make(try Self.rows(run)) }
    #expect(!outcome.isSkipped)
    let after = run.model.parameters.map(\.tensor.values)
    #expect(after != before)
    for parameter in run.model.parameters {
      let rounded = try parameter.tensor.copy()
      try rounded.roundToHalf()
      #expect(rounded.values == parameter.tensor.values, "\(parameter.name)")
    }
  }

  static func rows(_ run: TrainingRun) throws -> [ModelRow] {
    try (0..<run.microBatches).map { _ in
      try run.row(try #require(try run.source.next()))
    }
  }

  @Test("the scale cancels: a step is that of scale 1, up to what fp32 rounds")
  func scaleCancels() throws {
    let rig = try TrainingRig()
    func losses(_ scale: String) throws -> [Double] {
      let run = try rig.run([
        "--fp16", "true", "--train_iters", "3", "--lr", "1e-3", "--extra_megatron_kwargs",
        #"{"loss_scale": \#(scale)}"#,
      ])
      return try TrainingRig.records(run).compactMap { $0["lm loss"]?.double }
    }
    let plain = try losses("1")
    let scaled = try losses("1024")
    #expect(plain.count == 3 && plain[2] < plain[0])
    for (a, b) in zip(plain, scaled) { #expect(abs(a - b) < 1e-6) }
  }

  @Test("a fixed scale stops at a value that is not finite")
  func fixedScale() throws {
    let rig = try TrainingRig()
    let fault = try rig.fault([
      "--fp16", "true", "--train_iters", "2", "--extra_megatron_kwargs", #"{"loss_scale": 1e41}"#,
    ])
    #expect(fault.code == .nonFiniteGradient && fault.code.exit == .nonFinite)
  }

  @Test("checkpoints hold F16, and a run goes on from them with the same weights")
  func checkpoint() throws {
    let rig = try TrainingRig()
    let first = try rig.run(["--fp16", "true", "--train_iters", "2", "--lr", "1e-3"])
    let reader = try TorchDistReader(first.directory + "/iter_0000002")
    #expect(!reader.index.tensors.isEmpty)
    for (key, tensor) in reader.index.tensors {
      let isState = key.hasPrefix("optimizer.")
      #expect(tensor.spec.dtype == (isState ? .float32 : .float16), "\(key)")
    }
    let second = try rig.build([
      "--fp16", "true", "--train_iters", "4", "--load", first.directory, "--no_load_optim", "true",
    ])
    #expect(second.position.iteration == 2 && second.position.consumedTrainSamples == 4)
    for (a, b) in zip(first.model.parameters, second.model.parameters) {
      #expect(a.tensor.values == b.tensor.values, "\(a.name)")
    }
  }
}
