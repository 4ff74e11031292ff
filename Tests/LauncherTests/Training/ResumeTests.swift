import Checkpoint
import Foundation
import Optim
import Support
import Testing

@testable import Launcher

@Suite("Going on from a checkpoint", .serialized)
struct ResumeTests {
  @Test(
    "--resume auto goes on from the newest run that has a checkpoint, and begins anew without one")
  func resumeAuto() throws {
    let rig = try TrainingRig()
    let words = ["--resume", "auto", "--no_load_optim", "true"]
    let anew = try rig.build(words + ["--train_iters", "2"])
    #expect(anew.position.iteration == 0 && anew.options.checkpoint.load == nil)
    #expect(anew.options.report.notes.contains { $0.contains("begins anew") })
    _ = try Trainer(anew, signals: { [] }).train()
    // A newer run without a checkpoint does not count.
    _ = try rig.build(["--train_iters", "1"])
    let next = try rig.build(words + ["--train_iters", "4"])
    #expect(next.options.checkpoint.load == anew.directory)
    #expect(next.position.iteration == 2 && next.position.consumedTrainSamples == 4)
    #expect(next.directory != anew.directory)
    #expect(next.source.state.consumed == 4)
    _ = try Trainer(next, signals: { [] }).train()
    #expect(TrainingRig.files(next.directory).contains("iter_0000004"))
  }

  @Test("without optimizer states going on needs --no_load_optim, and the message says so")
  func optimizerStates() throws {
    let rig = try TrainingRig()
    let first = try rig.run(["--train_iters", "1", "--no_save_optim", "true"])
    let fault = try rig.fault(["--train_iters", "2", "--resume", "auto"])
    #expect(fault.code == .noOptimizerState)
    #expect(fault.description.contains("--no_load_optim true"))
    #expect(first.position.iteration == 1)
  }

  @Test(
    "a run with frozen layers goes on from its states, and thawed from the weight and zero moments",
    arguments: [TinyModel.Kind.dense, .moe])
  func frozenLayers(kind: TinyModel.Kind) throws {
    let rig = try TrainingRig(kind)
    let frozen = ["--freeze_parameters", "decoder.layers.0", "--lr", "1e-2"]
    let whole = try rig.run(frozen + ["--train_iters", "4"])
    let half = try rig.run(frozen + ["--train_iters", "2", "--lr_decay_iters", "4"])
    let words = ["--load", half.directory, "--train_iters", "4", "--lr", "1e-2"]
    let second = try rig.run(words + Array(frozen.prefix(2)))
    for (a, b) in zip(whole.model.parameters, second.model.parameters) {
      #expect(a.tensor.values.map(\.bitPattern) == b.tensor.values.map(\.bitPattern), "\(a.name)")
    }
    let thawed = try rig.build(words)
    var seen = 0
    for item in thawed.optimizer.parameters where item.parameter.name.contains("layers.0.") {
      let parameter = item.parameter
      for owned in thawed.optimizer.ownedStates where owned.name == parameter.name {
        for kind in thawed.optimizer.stateKinds {
          try thawed.optimizer.exportState(kind, of: owned.name, elements: owned.range) {
            range, values in
            let weights = parameter.tensor.values[range]
            seen += 1
            #expect(
              zip(values, weights).allSatisfy { $0 == (kind == .master ? $1 : 0) },
              "\(kind) of \(owned.name)")
          }
        }
      }
    }
    #expect(seen > 0)
  }

  @Test("--resume auto contradicts --load and --finetune")
  func contradictions() throws {
    let folder = try TemporaryFolder()
    #expect(
      try trainFault(["--resume", "auto", "--load", folder.path]).description.contains(
        "leave out --load"))
    #expect(
      try trainFault(["--resume", "auto", "--finetune", "true"]).description.contains(
        "begins anew"))
  }

  @Test("--on_corrupt previous takes the newest complete checkpoint, stop names it")
  func onCorrupt() throws {
    let rig = try TrainingRig()
    let first = try rig.run(["--train_iters", "2", "--save_interval", "1"])
    let damaged = first.directory + "/iter_0000002"
    let file = try #require(TrainingRig.files(damaged).first { $0.hasSuffix(".distcp") })
    try Data([1, 2, 3]).write(to: URL(fileURLWithPath: damaged + "/" + file))
    let words = ["--train_iters", "3", "--load", first.directory, "--no_load_optim", "true"]
    let fault = try rig.fault(words)
    #expect(fault.code.exit == .corruptCheckpoint && fault.description.contains("iter_0000001"))
    let run = try rig.build(words + ["--on_corrupt", "previous"])
    #expect(run.position.iteration == 1)
  }

  @Test("what was not saved is asked for by name: random state, and the flag that leaves it out")
  func randomState() throws {
    let rig = try TrainingRig()
    let first = try rig.run(["--train_iters", "1", "--no_save_rng", "true", "--seed", "7"])
    let words = ["--train_iters", "2", "--load", first.directory]
    let fault = try rig.fault(words)
    #expect(fault.code == .noRandomState && fault.description.contains("--no_load_rng true"))
    #expect(try rig.build(words + ["--no_load_rng", "true"]).seed == 42)
    let second = try rig.run(["--train_iters", "1", "--seed", "7"])
    #expect(try rig.build(["--train_iters", "1", "--load", second.directory]).seed == 7)
  }

  @Test("a schedule that contradicts the checkpoint is refused with the name of the value")
  func schedule() throws {
    let rig = try TrainingRig()
    let first = try rig.run(["--train_iters", "2", "--lr", "1e-3"])
    let words = ["--load", first.directory]
    let fault = try rig.fault(words + ["--train_iters", "2", "--lr", "2e-3"])
    #expect(fault.code == .scheduleDiffers && fault.description.contains("max_lr"))
    #expect(
      try rig.fault(words + ["--train_iters", "4", "--lr", "1e-3", "--lr_decay_iters", "4"])
        .description.contains("lr_decay_steps"))
    let other = try rig.build(
      words + [
        "--train_iters", "4", "--lr", "2e-3", "--extra_megatron_kwargs",
        #"{"override_opt_param_scheduler": true}"#,
      ])
    #expect(other.position.scheduledSamples == 4 && other.optimizer.stepCount == 2)
  }

  @Test("the schedule of the checkpoint is taken over on request, lengths included")
  func storedSchedule() throws {
    let rig = try TrainingRig()
    let flags = ["--lr", "1e-3", "--min_lr", "1e-4", "--lr_decay_style", "linear"]
    let first = try rig.run(["--train_iters", "2", "--lr_decay_iters", "6"] + flags)
    let words = ["--load", first.directory, "--train_iters", "4"]
    let taken = try rig.build(
      words + [
        "--lr", "7e-3", "--extra_megatron_kwargs",
        #"{"use_checkpoint_opt_param_scheduler": true}"#,
      ])
    let stated = try rig.build(words + ["--lr_decay_iters", "6"] + flags)
    for samples in 0..<16 {
      #expect(
        taken.schedule.learningRate(samples: samples)
          == stated.schedule.learningRate(samples: samples))
    }
    #expect(taken.position.scheduledSamples == 4)
  }

  @Test("a longer training goes on, also where the rate follows from its length")
  func moreEpochs() throws {
    let rig = try TrainingRig()
    let first = try rig.run(["--max_epochs", "1", "--lr_decay_iters", "8"])
    #expect(first.position.iteration == 4)
    let whole = try rig.run(["--max_epochs", "2", "--lr_decay_iters", "8"])
    let rest = try rig.run(
      ["--max_epochs", "2", "--lr_decay_iters", "8", "--load", first.directory])
    try ExactResumeTests.same(
      whole.directory + "/iter_0000008", rest.directory + "/iter_0000008")
    let derived = try rig.build(
      ["--max_epochs", "3", "--load", try rig.run(["--max_epochs", "1"]).directory])
    #expect(derived.trainIterations == 12 && derived.position.scheduledSamples == 8)
  }

  @Test("--no_load_optim keeps position and schedule, --finetune keeps the weights only")
  func parts() throws {
    let rig = try TrainingRig()
    let first = try rig.run(["--train_iters", "4", "--lr", "1e-3", "--save_interval", "2"])
    let words = ["--train_iters", "4", "--lr", "1e-3", "--load", first.directory + "/iter_0000002"]
    let new = try rig.build(words + ["--no_load_optim", "true"])
    #expect(new.position.iteration == 2 && new.position.scheduledSamples == 4)
    #expect(new.optimizer.stepCount == 0)
    let fine = try rig.build(words + ["--finetune", "true"])
    #expect(fine.position == TrainingPosition() && fine.optimizer.stepCount == 0)
    for (a, b) in zip(new.model.parameters, fine.model.parameters) {
      #expect(a.tensor.values == b.tensor.values, "\(a.name)")
    }
  }

  @Test("states of other parameters are an error that lists them")
  func otherParameters() throws {
    let rig = try TrainingRig()
    let frozen = ["--freeze_parameters", "embedding.word_embeddings"]
    let first = try rig.run(["--train_iters", "1"] + frozen)
    let fault = try rig.fault(["--train_iters", "2", "--load", first.directory])
    #expect(fault.code == .badOptimizerState)
    #expect(fault.description.contains("exp_avg of embedding.word_embeddings.weight"))
    let sgd = try rig.fault(
      ["--train_iters", "1", "--optimizer", "sgd", "--load", first.directory] + frozen)
    #expect(sgd.description.contains("momentum_buffer"))
  }

  @Test("a flipped byte is found before training, with its tensor; previous takes the one before")
  func flipped() throws {
    let rig = try TrainingRig()
    let first = try rig.run(["--train_iters", "2", "--save_interval", "1"])
    let file = first.directory + "/iter_0000002/__0_0.distcp"
    let reader = try TorchDistReader(first.directory + "/iter_0000002")
    let key = "optimizer.state.exp_avg.embedding.word_embeddings.weight"
    let place = try #require(reader[key]?.chunks.first?.location)
    var bytes = try #require(FileManager.default.contents(atPath: file))
    bytes[place.offset + place.length / 2] ^= 4
    try bytes.write(to: URL(fileURLWithPath: file))
    let words = ["--train_iters", "2", "--load", first.directory]
    let fault = try rig.fault(words)
    #expect(fault.code.exit == .corruptCheckpoint && fault.description.contains(key))
    let run = try rig.build(words + ["--on_corrupt", "previous"])
    #expect(run.position.iteration == 1)
  }

  @Test("--exit_on_missing_checkpoint false begins without a checkpoint, true says there is none")
  func missing() throws {
    let rig = try TrainingRig()
    let words = ["--train_iters", "1", "--load", rig.folder.path + "/nothing"]
    #expect(try rig.fault(words).code.exit == .missingInput)
    let run = try rig.build(words + ["--exit_on_missing_checkpoint", "false"])
    #expect(run.position.iteration == 0)
  }
}
