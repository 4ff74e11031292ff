import Foundation
import Support
import Testing

@testable import Launcher

/// What one process writes about its run, and how it goes on.
@Suite(
  "A run from end to end", .serialized,
  .enabled(if: EndToEnd.hasPrograms, "the programs were not found"))
struct EndToEndRunTests {
  @Test("megatron-pt trains on every token of plain text")
  func pretraining() throws {
    let job = try TinyJob(.dense)
    let text = (0..<8).map {
      #"{"messages": [{"role": "assistant", "content": "Plain text number \#($0)."}]}"#
    }
    let rows = try job.folder.write("plain.jsonl", text.joined(separator: "\n") + "\n")
    let done = try job.run(
      ["--dataset", rows, "--show_samples", "1", "--lr", "3e-3", "--train_iters", "8"],
      program: "megatron-pt")
    #expect(done.status == 0, "\(done.text)")
    // The first token has nothing to be predicted from.
    #expect(done.text.contains("[LABELS] [-100 * 1]lain text number"))
    let losses = try job.records().losses
    #expect(losses.count == 8 && losses[7] < losses[0])
  }

  @Test("logging.jsonl has the keys of the reference in its order")
  func keys() throws {
    let job = try TinyJob(.moe)
    let done = try job.run(["--moe_z_loss_coeff", "1e-3", "--log_interval", "2"])
    #expect(done.status == 0, "\(done.text)")
    let records = try job.records()
    // The first step is always logged, then every second one.
    #expect(records.map { $0["global_step/max_steps"]?.string } == ["1/4", "2/4", "4/4"])
    #expect(
      records[0].members.map { $0.key } == [
        "lm loss", "load_balancing_loss", "z_loss", "grad_norm", "learning_rate",
        "elapsed_time_per_iteration", "memory(GiB)", "elapsed_time", "remaining_time",
        "loss_scale", "consumed_samples", "global_step/max_steps",
      ])
    #expect(records.map { $0["consumed_samples"]?.int } == [4, 8, 16])
  }

  @Test("the form of swift sft saves and evaluates after each epoch and logs its keys")
  func epochs() throws {
    let job = try TinyJob(.dense)
    let done = try EndToEnd.run(
      "megatron-sft",
      [
        "--model", job.model, "--dataset", job.rows, "--val_dataset", job.rows, "--output_dir",
        "\(job.folder.path)/run", "--train_type", "full", "--num_train_epochs", "2",
        "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "4",
        "--learning_rate", "1e-2", "--logging_steps", "1", "--save_strategy", "epoch",
        "--eval_strategy", "epoch", "--add_version", "false", "--no_save_optim", "true",
        "--max_length", "96", "--dataset_num_proc", "1",
      ], in: job.folder)
    #expect(done.status == 0, "\(done.text)")
    let records = try job.records()
    let training = records.filter { $0["loss"] != nil }
    #expect(training.count == 6)
    for record in records {
      let share = record["token_acc"]?.double ?? record["eval_token_acc"]?.double
      #expect(share.map { (0...1).contains($0) } == true, "\(record)")
    }
    // Steps 3 and 6 end an epoch; the evaluation after training follows.
    let evaluations = records.indices.filter { records[$0]["eval_loss"] != nil }
    #expect(evaluations == [3, 7, 8])
    let saved = try FileManager.default.contentsOfDirectory(atPath: job.folder.path + "/run")
      .filter { $0.hasPrefix("checkpoint-") }
    #expect(saved.sorted() == ["checkpoint-3", "checkpoint-6"])
  }

  @Test("split rows are evaluated, and written to val_dataset.jsonl")
  func evaluation() throws {
    let job = try TinyJob(.dense, rowCount: 40)
    let done = try job.run([
      "--split_dataset_ratio", "0.1", "--global_batch_size", "2", "--eval_interval", "2",
      "--eval_iters", "2",
    ])
    #expect(done.status == 0, "\(done.text)")
    let text = try String(
      contentsOfFile: job.folder.path + "/run/val_dataset.jsonl", encoding: .utf8)
    #expect(text.split(separator: "\n").count == 4)
    let evaluations = try job.records().compactMap { $0["eval_lm loss"]?.double }
    // After steps 2 and 4, and at the end, where no weight has changed since step 4.
    #expect(evaluations.count == 3 && evaluations[1] == evaluations[2])
    #expect(evaluations[0] != evaluations[1])
  }

  @Test("the same command twice gives v0 and v1, each with its log and checkpoint")
  func versions() throws {
    let job = try TinyJob(.dense)
    for _ in 0..<2 {
      let done = try job.run(["--add_version", "true", "--train_iters", "1"])
      #expect(done.status == 0, "\(done.text)")
    }
    let runs = try FileManager.default.contentsOfDirectory(atPath: job.folder.path + "/run")
      .sorted()
    #expect(runs.count == 2)
    #expect(runs.first?.hasPrefix("v0-") == true && runs.last?.hasPrefix("v1-") == true)
    for run in runs {
      for name in [
        "logging.jsonl", "args.json", "latest_checkpointed_iteration.txt", "config.json",
      ] {
        let path = "\(job.folder.path)/run/\(run)/\(name)"
        #expect(FileManager.default.fileExists(atPath: path), "\(path)")
      }
    }
    let weights = try WeightComparison("\(job.folder.path)/run/\(runs[0])")
    let again = try WeightComparison("\(job.folder.path)/run/\(runs[1])")
    #expect(try again.difference(from: weights) == nil)
  }

  @Test("a resumed run goes on with the next iteration and the next rows")
  func resume() throws {
    let job = try TinyJob(.dense)
    let still = [
      "--train_iters", "6", "--dataloader_type", "cyclic", "--no_save_optim", "false",
      "--no_save_rng", "false",
    ]
    let whole = try job.run(still, save: "whole")
    #expect(whole.status == 0, "\(whole.text)")
    let first = try job.run(
      still + ["--extra_megatron_kwargs", #"{"exit_interval": 3}"#], save: "first")
    #expect(first.status == 0, "\(first.text)")
    let second = try job.run(
      still + ["--load", job.folder.path + "/first"], save: "second")
    #expect(second.status == 0, "\(second.text)")
    let records = try job.records("second")
    #expect(records.map { $0["global_step/max_steps"]?.string } == ["4/6", "5/6", "6/6"])
    #expect(records.map { $0["consumed_samples"]?.int } == [16, 20, 24])
    let losses = try job.records("whole").losses
    #expect(Set(losses).count == 6)
    #expect(try job.records("first").losses + records.losses == losses)
  }

  @Test("a time limit saves, leaves with 75 and says why")
  func timeLimit() throws {
    let job = try TinyJob(.dense)
    let done = try job.run([
      "--train_iters", "1000000", "--stop_after", "1s", "--max_epochs", "1000000",
    ])
    #expect(done.status == ExitCode.stoppedOnRequest.rawValue, "\(done.text.suffix(2000))")
    let last = try job.records().last?["global_step/max_steps"]?.string
    let tracker = try String(
      contentsOfFile: job.folder.path + "/run/latest_checkpointed_iteration.txt", encoding: .utf8)
    #expect(last?.hasPrefix(tracker.trimmingCharacters(in: .whitespacesAndNewlines) + "/") == true)
  }
}
