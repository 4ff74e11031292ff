import Checkpoint
import Foundation
import Parallel
import Support
import Testing

@testable import Launcher

@Suite("Saving in the background, and saving when things fail", .serialized)
struct SaveFaultTests {
  private static let words = [
    "--train_iters", "6", "--lr", "1e-3", "--save_interval", "2", "--torch_dtype", "bfloat16",
  ]

  @Test("a save in the background has the bytes of one that is waited for", arguments: [1, 2])
  func background(ranks: Int) throws {
    let rig = try TrainingRig(.moe)
    let layout = ranks == 1 ? [] : ["--expert_model_parallel_size", "2"]
    let waited = try ExactResumeTests.train(rig, Self.words + layout, ranks: ranks)
    let background = try ExactResumeTests.train(
      rig, Self.words + layout + ["--async_save", "true"], ranks: ranks)
    for step in [2, 4, 6] {
      try ExactResumeTests.same(
        "\(waited)/iter_000000\(step)", "\(background)/iter_000000\(step)")
    }
    #expect(try Tracker.read(background) == .iteration(6))
    #expect(!TrainingRig.files(background).contains { $0.hasPrefix(".tmp_") })
  }

  @Test(
    "a disk that fails once at any point is survived, and the run ends with all its checkpoints",
    arguments: CommitPoint.allCases)
  func survived(_ point: CommitPoint) throws {
    let rig = try TrainingRig()
    for words in [[], ["--async_save", "true"]] {
      let run = try rig.run(
        Self.words + words + [
          "--save_total_limit", "1", "--inject", "enospc@save.\(point.rawValue),step=4",
        ])
      #expect(try Tracker.read(run.directory) == .iteration(6))
      let newest = CheckpointLocator.newestComplete(run.directory)
      #expect(newest == .iteration(6))
      #expect(
        !TrainingRig.files(run.directory).contains {
          $0.hasPrefix(".tmp_") || $0.hasPrefix(".old_")
        })
    }
  }

  @Test("the third failure in a row ends the run, and the old checkpoint stays")
  func third() throws {
    let rig = try TrainingRig()
    let fault = try rig.fault(
      Self.words + ["--train_iters", "20", "--add_version", "false", "--inject"]
        + [4, 6, 8].map { "eio@save.midData,step=\($0)" })
    #expect(fault.code.exit == .cannotWrite && fault.message.contains("Input/output error"))
    #expect(try Tracker.read(rig.save) == .iteration(2))
    #expect(TrainingRig.files(rig.save).filter { $0.hasPrefix("iter_") } == ["iter_0000002"])
  }

  @Test("the text of a fault says kind, point, rank and step; anything else is a mistake")
  func texts() throws {
    let fault = SaveFault("kill@save.midData,rank=1,step=4")
    #expect(fault?.kind == .kill && fault?.point == .midData)
    #expect(fault?.rank == 1 && fault?.step == 4)
    for text in ["", "kill", "kill@", "kill@save", "nan@save.midData", "kill@save.never", "a,b"] {
      #expect(SaveFault(text) == nil, "\(text)")
    }
    #expect(SaveFault("kill@save.midData,rank=x") == nil)
    #expect(try trainFault(["--inject", "kill@load"]).description.contains("no fault"))
  }

  @Test("every flipped bit of a checkpoint is found, with file and tensor")
  func flippedBits() throws {
    let rig = try TrainingRig()
    let run = try rig.run(["--train_iters", "1"])
    #expect(
      BitFlipTrials.run([run.directory + "/iter_0000001", "--trials", "24", "--seed", "3"]) == .done
    )
  }

  @Test("a run that ends with a fault still commits what it saves in the background")
  func faultMeanwhile() throws {
    let rig = try TrainingRig()
    let fault = try rig.fault(
      Self.words + [
        "--save_interval", "1", "--add_version", "false", "--async_save", "true", "--lr", "1e30",
      ])
    #expect(fault.code.exit == .nonFinite)
    let newest = try #require(CheckpointLocator.newestComplete(rig.save))
    #expect(try Tracker.read(rig.save) == newest)
    #expect(!TrainingRig.files(rig.save).contains { $0.hasPrefix(".tmp_") })
  }
}
