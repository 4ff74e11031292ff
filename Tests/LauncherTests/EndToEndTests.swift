import Foundation
import Support
import Testing

@testable import Launcher

/// The programs as a user starts them, one after another: the machine may have two cores.
@Suite(
  "Programs from end to end", .serialized,
  .enabled(if: EndToEnd.hasRanks, "the programs or mpirun were not found"))
struct EndToEndTests {
  private static let experts = [
    "--tensor_model_parallel_size", "2", "--sequence_parallel", "true",
    "--expert_model_parallel_size", "2",
  ]

  private func export(_ job: TinyJob, _ words: [String]) throws {
    let done = try EndToEnd.run("megatron-export", words, in: job.folder)
    #expect(done.status == 0, "\(done.text)")
  }

  @Test("weights pass through training on two ranks and export without a changed bit")
  func convertTrainExport() throws {
    let job = try TinyJob(.moe)
    let base = job.folder.path
    try export(job, ["--model", job.model, "--to_mcore", "true", "--output_dir", base + "/mcore"])
    let done = try job.run(
      ["--load", base + "/mcore", "--finetune", "true"] + Self.experts, ranks: 2)
    #expect(done.status == 0, "\(done.text)")
    try export(
      job,
      [
        "--mcore_model", base + "/run", "--model", job.model, "--to_hf", "true", "--output_dir",
        base + "/hf",
      ])
    try export(
      job, ["--model", base + "/hf", "--to_mcore", "true", "--output_dir", base + "/back"])
    let trained = try WeightComparison(base + "/run")
    #expect(try WeightComparison(base + "/back").difference(from: trained) == nil)
    #expect(try WeightComparison(base + "/mcore").difference(from: trained) != nil)
  }

  @Test("two ranks train the weights of one, bit for bit")
  func ranksAgree() throws {
    let job = try TinyJob(.moe)
    let one = try job.run(save: "one")
    #expect(one.status == 0, "\(one.text)")
    let two = try job.run(Self.experts, save: "two", ranks: 2)
    #expect(two.status == 0, "\(two.text)")
    let reference = try WeightComparison(job.folder.path + "/one")
    #expect(try WeightComparison(job.folder.path + "/two").difference(from: reference) == nil)
    let losses = try job.records("one").losses
    #expect(try losses == job.records("two").losses && losses.count == 4)
  }

  @Test("NPROC_PER_NODE starts the ranks and prints the command it starts")
  func dispatcher() throws {
    let job = try TinyJob(.dense)
    let done = try EndToEnd.run(
      "megatron", ["sft"] + job.flags(["--train_iters", "1"]), in: job.folder,
      variables: ["NPROC_PER_NODE": "2"])
    #expect(done.status == 0, "\(done.text)")
    #expect(done.text.contains("run sh: `mpirun -n 2 "))
    #expect(done.text.contains("world_size: 2"))
    #expect(done.text.contains("dp 2"))
  }

  @Test("a fault that all ranks have is told once")
  func oneMessage() throws {
    let job = try TinyJob(.dense)
    let missing = job.folder.path + "/nowhere.jsonl"
    let done = try job.run(["--dataset", missing], ranks: 2)
    #expect(done.status == ExitCode.missingInput.rawValue, "\(done.text)")
    #expect(done.faults.count == 1 && done.faults[0].contains(missing), "\(done.text)")
  }

  @Test("a log that cannot be written ends both ranks with 73")
  func fullDisk() throws {
    let job = try TinyJob(.dense)
    let run = job.folder.path + "/run"
    try FileManager.default.createDirectory(atPath: run, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      atPath: run + "/logging.jsonl", withDestinationPath: "/dev/full")
    let done = try job.run(ranks: 2)
    #expect(done.status == ExitCode.cannotWrite.rawValue, "\(done.text)")
    #expect(done.faults.count == 1 && done.faults[0].contains("logging.jsonl"), "\(done.text)")
  }
}
