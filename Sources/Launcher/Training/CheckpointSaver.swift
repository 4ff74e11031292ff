import Checkpoint
import Foundation
import Model
import Parallel
import Support
import Tensor

/// Saves a run: every rank its part, rank 0 the index, then one rename.
///
/// With `--async_save` the parts are copied and written in the background; the commit follows at the
/// first agreement point at which all ranks have written, the next save, or the end of training.
final class CheckpointSaver {
  let run: TrainingRun
  private var pending: Pending?

  /// A save between its copy and its commit.
  private struct Pending {
    let commit: CheckpointCommit
    let iteration: Int
    let common: CommonState
    let write: BackgroundWrite
  }

  init(_ run: TrainingRun) { self.run = run }

  func path(of iteration: Int) -> String {
    run.options.form == .swift
      ? SwiftFormFolder(run: run).path
      : run.directory + "/" + CheckpointName.iteration(iteration).folder
  }

  private var world: any Communicator { run.groups.world }
  private var flags: CheckpointFlags { run.options.checkpoint }

  /// Saves now, or begins to save in the background.
  /// - Parameters:
  ///   - window: what the log has gathered since its last line.
  ///   - waits: nothing may stay in the background.
  /// - Returns: whether the checkpoint is there.
  /// - Throws: `FILE-003` on all ranks when one cannot write; the previous checkpoint stays.
  func save(_ window: LogWindowState, waits: Bool) throws(Fault) -> Bool {
    let iteration = run.position.iteration
    let id = try world.shared(world.rank == 0 ? SaveID.make() : "")
    let swift = run.options.form == .swift ? SwiftFormFolder(run: run) : nil
    let probe = SaveFault.probe(run.options.run.inject, rank: world.rank, step: iteration)
    let commit = CheckpointCommit(
      root: swift?.staging(id) ?? run.directory, name: .iteration(iteration), id: id, probe: probe)
    // What the form of swift sft puts beside the state is of this moment, too.
    let isBackground = flags.asyncSave && !waits && swift == nil
    try abandoning(commit) { () throws(Fault) in
      try world.agreeing { () throws(Fault) in if world.rank == 0 { try commit.prepare() } }
      let content = try CheckpointContent(run, window: window)
      guard isBackground else { return try write(content, commit, iteration, probe) }
      try begin(content, commit, iteration, probe)
    }
    return !isBackground
  }

  private func write(
    _ content: CheckpointContent, _ commit: CheckpointCommit, _ iteration: Int,
    _ probe: CommitProbe
  ) throws(Fault) {
    let report = try world.agreeing { () throws(Fault) in
      try TorchDistWriter.write(
        tensors: content.tensors, objects: content.objects, to: commit.staging,
        rank: world.rank, probe: probe)
    }
    try finish(commit, iteration, content.common, report)
  }

  private func begin(
    _ content: CheckpointContent, _ commit: CheckpointCommit, _ iteration: Int,
    _ probe: CommitProbe
  ) throws(Fault) {
    let start = Clock.monotonicSeconds()
    let held = try world.agreeing { () throws(Fault) in
      var held: [HeldTensor] = []
      for tensor in content.tensors { held.append(try HeldTensor(tensor)) }
      return held
    }
    pending = Pending(
      commit: commit, iteration: iteration, common: content.common,
      write: BackgroundWrite(
        tensors: held, objects: content.objects, to: commit.staging, rank: world.rank,
        probe: probe))
    run.logger.info(
      "saving iteration \(iteration) in the background; training stood still for "
        + String(format: "%.3f s", Clock.monotonicSeconds() - start))
  }

  /// The iteration that is being saved in the background.
  var pendingIteration: Int? { pending?.iteration }

  /// Commits the save of the background, if there is one.
  /// - Parameter waits: also when it is not written yet; otherwise only if all ranks have written.
  /// - Returns: whether it is now on disk.
  /// - Communication: nothing while nothing is in the background; else one integer per call.
  /// - Throws: `FILE-003` on all ranks; the previous checkpoint stays.
  func commitPending(waits: Bool) throws(Fault) -> Bool {
    guard let save = pending else { return false }
    if !waits, try !world.allTrue(save.write.isDone) { return false }
    pending = nil
    try abandoning(save.commit) { () throws(Fault) in
      let report = try world.agreeing { () throws(Fault) in try save.write.report() }
      try finish(save.commit, save.iteration, save.common, report)
    }
    return true
  }

  private func abandoning(
    _ commit: CheckpointCommit, _ body: () throws(Fault) -> Void
  ) throws(Fault) {
    do throws(Fault) {
      try body()
    } catch {
      // Half a checkpoint would fill the disk; what went wrong is told by the first fault.
      if world.rank == 0 {
        try? commit.abandon()
        if run.options.form == .swift {
          try? Folder.remove(SwiftFormFolder(run: run).staging(commit.id))
        }
      }
      throw error
    }
  }

  /// Gathers the reports; rank 0 writes the index and gives the folder its name.
  private func finish(
    _ commit: CheckpointCommit, _ iteration: Int, _ common: CommonState, _ report: RankReport
  ) throws(Fault) {
    let texts = try world.allTexts(String(decoding: report.bytes, as: UTF8.self))
    try world.agreeing { () throws(Fault) in
      guard world.rank == 0 else { return }
      var reports: [RankReport] = []
      for text in texts { reports.append(try RankReport(bytes: Array(text.utf8))) }
      let files = try TorchDistWriter.finish(commit.staging, reports: reports, common: common)
      try commit.finish(files: files, info: RunFacts.json(run))
    }
    try accompany(commit)
    run.logger.info("saved \(path(of: iteration))")
  }

  /// What belongs beside the checkpoint, and older ones that are too many.
  private func accompany(_ commit: CheckpointCommit) throws(Fault) {
    let copy = PublishedCopy(run: run, id: commit.id)
    try world.agreeing { () throws(Fault) in
      guard world.rank == 0 else { return }
      // A job that was killed may have left parts of a save; it is dead by now.
      _ = try? CheckpointFolder.mend(run.directory, now: Int(Date().timeIntervalSince1970))
      try run.folder.copyCompanions(to: run.directory)
    }
    if run.options.form == .swift {
      let swift = SwiftFormFolder(run: run)
      try swift.write(commit.id)
      return try world.agreeing { () throws(Fault) in
        if world.rank == 0 { try swift.finish(commit.id) }
      }
    }
    if flags.saveSafetensors { try copy.write(commit.name) }
    guard world.rank == 0, let keep = flags.saveTotalLimit else { return }
    do throws(Fault) {
      for name in try commit.prune(keep: keep) { try copy.remove(name) }
    } catch {
      // The new checkpoint is there; an old one that stays too long is no reason to doubt that.
      run.logger.warning("older checkpoints were not removed: \(error.message)")
    }
  }
}

extension TrainingRun {
  /// Whether this rank is the first of those that hold the same part of a weight: the one that
  /// writes and counts it.
  func holdsFirstCopy(of parameter: Parameter) -> Bool {
    groups.holdsFirstCopy(of: parameter)
  }
}

extension Communicator {
  /// Whether something holds on every rank.
  /// - Communication: one integer.
  func allTrue(_ own: Bool) throws(Fault) -> Bool {
    guard size > 1 else { return own }
    var word: [Int64] = [own ? 0 : 1]
    try word.withUnsafeMutableBufferPointer { (p) throws(Fault) in try allReduceMax(p) }
    return word[0] == 0
  }
}
