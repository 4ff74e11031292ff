import Checkpoint
import Foundation
import Model
import Parallel
import Support
import Tensor

/// Saves a run: every rank its part, rank 0 the index, then one rename.
struct CheckpointSaver {
  let run: TrainingRun

  init(_ run: TrainingRun) { self.run = run }

  func path(of iteration: Int) -> String {
    run.options.form == .swift
      ? SwiftFormFolder(run: run).path
      : run.directory + "/" + CheckpointName.iteration(iteration).folder
  }

  /// - Parameter window: what the log has gathered since its last line.
  /// - Throws: `FILE-003` on all ranks when one cannot write; the previous checkpoint stays.
  func save(_ window: LogWindowState) throws(Fault) {
    let world = run.groups.world
    let iteration = run.position.iteration
    let id = try world.shared(world.rank == 0 ? SaveID.make() : "")
    let swift = run.options.form == .swift ? SwiftFormFolder(run: run) : nil
    let commit = CheckpointCommit(
      root: swift?.staging(id) ?? run.directory, name: .iteration(iteration), id: id)
    do throws(Fault) {
      try save(commit, window)
      try swift?.write(id)
      try world.agreeing { () throws(Fault) in if world.rank == 0 { try swift?.finish(id) } }
    } catch {
      // Half a checkpoint would fill the disk; what went wrong is told by the first fault.
      if world.rank == 0 {
        try? commit.abandon()
        if let swift { try? Folder.remove(swift.staging(id)) }
      }
      throw error
    }
    run.logger.info("saved \(path(of: iteration))")
  }

  private func save(_ commit: CheckpointCommit, _ window: LogWindowState) throws(Fault) {
    let world = run.groups.world
    try world.agreeing { () throws(Fault) in if world.rank == 0 { try commit.prepare() } }
    let content = try CheckpointContent(run, window: window)
    let report = try world.agreeing { () throws(Fault) in
      try TorchDistWriter.write(
        tensors: content.tensors, objects: content.objects, to: commit.staging, rank: world.rank)
    }
    let texts = try world.allTexts(String(decoding: report.bytes, as: UTF8.self))
    try world.agreeing { () throws(Fault) in
      guard world.rank == 0 else { return }
      var reports: [RankReport] = []
      for text in texts { reports.append(try RankReport(bytes: Array(text.utf8))) }
      let files = try TorchDistWriter.finish(
        commit.staging, reports: reports, common: content.common)
      try commit.finish(files: files, info: RunFacts.json(run))
      try run.folder.copyCompanions(to: run.directory)
    }
    guard run.options.form == .megatron else { return }
    let copy = PublishedCopy(run: run, id: commit.id)
    let flags = run.options.checkpoint
    if flags.saveSafetensors { try copy.write(commit.name) }
    try world.agreeing { () throws(Fault) in
      guard world.rank == 0 else { return }
      if let keep = flags.saveTotalLimit {
        for name in try CheckpointFolder.prune(run.directory, keep: keep, id: commit.id) {
          try copy.remove(name)
        }
      }
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
