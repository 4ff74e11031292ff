import Foundation
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
    _ = try Trainer(anew).train()
    // A newer run without a checkpoint does not count.
    _ = try rig.build(["--train_iters", "1"])
    let next = try rig.build(words + ["--train_iters", "4"])
    #expect(next.options.checkpoint.load == anew.directory)
    #expect(next.position.iteration == 2 && next.position.consumedTrainSamples == 4)
    #expect(next.directory != anew.directory)
    #expect(next.source.state.consumed == 4)
    _ = try Trainer(next).train()
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
}
