import Foundation
import Support
import Testing

@testable import Launcher

@Suite("Syntax of the command line")
struct SyntaxTests {
  @Test("both spellings of a name and --name=value are read")
  func spellings() throws {
    #expect(try train(["--micro-batch-size", "2"]).schedule.microBatchSize == 2)
    #expect(try train(["--micro_batch_size=4"]).schedule.microBatchSize == 4)
    #expect(try train(["--micro-batch_size=8"]).schedule.microBatchSize == 8)
    #expect(try train(["--system=a=b"]).template.system == "a=b")
  }

  @Test("a unique prefix names its option, an exact name wins over longer ones")
  func prefixes() throws {
    let words = ["--recompute_gran", "full", "--recompute_meth", "uniform", "--recompute_num", "1"]
    #expect(try train(words).recompute.granularity == .full)
    // --model is also the beginning of --model_type and others.
    #expect(try train(["--model", "other"]).model.model == "other")
  }

  @Test("an ambiguous prefix names the candidates")
  func ambiguous() throws {
    let fault = try trainFault(["--adam_b", "0.5"])
    #expect(fault.code == .unknownOption)
    #expect(fault.message.contains("--adam_beta1") && fault.message.contains("--adam_beta2"))
  }

  @Test("the last of several wins, for lists too")
  func repeats() throws {
    #expect(try train(["--lr", "1", "--lr", "2"]).schedule.lr == 2)
    let options = try train(["--dataset", "a", "b", "--dataset", "c"])
    #expect(options.data.dataset == ["c"])
  }

  @Test(
    "a switch takes every word for yes and no",
    arguments: [
      ("yes", true), ("true", true), ("t", true), ("y", true), ("1", true), ("TRUE", true),
      ("no", false), ("false", false), ("f", false), ("n", false), ("0", false), ("False", false),
    ])
  func switchWords(word: String, value: Bool) throws {
    #expect(try train(["--finetune", word]).checkpoint.finetune == value)
  }

  @Test("a bare switch is true, and takes a following word as its value")
  func bareSwitch() throws {
    #expect(try train(["--finetune"]).checkpoint.finetune)
    #expect(try train(["--finetune", "--lr", "1"]).checkpoint.finetune)
    #expect(try trainFault(["--finetune", "maybe"]).code == .badOptionValue)
  }

  @Test("a switch without default needs its value")
  func optionalSwitch() throws {
    let fault = try trainFault(["--bf16"])
    #expect(fault.code == .badOptionValue && fault.message.contains("needs a value"))
    #expect(try train(["--bf16", "true"]).precision.bf16 == true)
    #expect(try train([]).precision.bf16 == nil)
  }

  @Test("every switch that is on by default has a --no_ form without value, no other has")
  func negation() throws {
    #expect(try !train(["--no_use_distributed_optimizer"]).parallel.useDistributedOptimizer)
    #expect(try !train(["--no-add-version"]).checkpoint.addVersion)
    #expect(try !train(["--no_no_initialization", "--load", "/"]).checkpoint.noInitialization)
    #expect(try train(["--no_save_optim"]).checkpoint.noSaveOptim)
    #expect(try trainFault(["--no_finetune"]).code == .unknownOption)
    #expect(try trainFault(["--no_add_version=1"]).code == .badOptionValue)
    // A word behind a negation is no value.
    #expect(try trainFault(["--no_add_version", "true"]).code == .unknownOption)
  }

  @Test("a list takes all words up to the next option, blanks inside a word stay")
  func lists() throws {
    let options = try train(["--dataset", "a b", "-c d", "e#5", "--lr", "1"])
    #expect(options.data.dataset == ["a b", "-c d", "e#5"])
    #expect(try train(["--interleave_prob", ".5"]).data.interleaveProb == [0.5])
    #expect(try trainFault(["--dataset"]).code == .badOptionValue)
  }

  @Test(
    "ints are read as Python reads them",
    arguments: [("1_000", 1000), ("+7", 7), (" 12 ", 12), ("007", 7)])
  func ints(text: String, value: Int) throws {
    #expect(try train(["--train_iters", text]).schedule.trainIters == value)
  }

  @Test(
    "an int option refuses other numbers",
    arguments: ["1e3", "1.0", "", "0x10", "1__0", "_1", "1_", "²"])
  func badInts(text: String) throws {
    #expect(try trainFault(["--train_iters", text]).code == .badOptionValue)
  }

  @Test(
    "floats are read as Python reads them",
    arguments: [
      ("1e-5", 1e-5), ("2.", 2.0), (".5", 0.5), ("1_0.5", 10.5), ("3", 3.0), ("+1E+2", 100.0),
    ])
  func floats(text: String, value: Double) throws {
    #expect(try train(["--lr", text]).schedule.lr == value)
  }

  @Test(
    "a float option refuses what Python refuses",
    arguments: ["", ".", "e5", "1e", "1.5.2", "0x1p3", "1,5"])
  func badFloats(text: String) throws {
    #expect(try trainFault(["--lr", text]).code == .badOptionValue)
  }

  @Test("infinite and missing numbers are read and then refused by range")
  func notFinite() throws {
    #expect(NumberSyntax.float("-inf") == -.infinity)
    #expect(NumberSyntax.float("nan")?.isNaN == true)
    #expect(try trainFault(["--lr", "inf"]).code == .badOptionValue)
    #expect(try trainFault(["--adam_beta1", "nan"]).code == .badOptionValue)
  }

  @Test("negative numbers are values, not options")
  func negativeNumbers() throws {
    #expect(try train(["--eval_iters", "-1"]).logging.evalIters == -1)
    #expect(
      try train(["--moe_expert_capacity_factor", "-1.5"]).experts.expertCapacityFactor == nil)
  }

  @Test("JSON is taken inline or from a file, broken JSON is a usage error")
  func json() throws {
    #expect(try train(["--columns", #"{"a": "b"}"#]).data.columns?["a"]?.string == "b")
    let folder = try TemporaryFolder()
    let file = try folder.write("columns.json", #"{"q": "query"}"#)
    #expect(try train(["--columns", file]).data.columns?["q"]?.string == "query")
    let fault = try trainFault(["--columns", "{'a': 1}"])
    #expect(fault.code == .badOptionValue && fault.message.contains("JSON"))
  }

  @Test("a choice takes its words only")
  func choices() throws {
    #expect(try train(["--truncation_strategy", "left"]).data.truncationStrategy == .left)
    let fault = try trainFault(["--truncation_strategy", "middle"])
    #expect(fault.code == .badOptionValue && fault.message.contains("delete, left, right"))
  }

  @Test("all unknown options are named at once, each with the nearest name")
  func unknown() throws {
    let fault = try trainFault(["--micro_batchsize", "2", "--dataste=x", "stray"])
    #expect(fault.code == .unknownOption && fault.code.exit == .usage)
    #expect(fault.message.contains("--micro_batch_size"))
    #expect(fault.message.contains("did you mean --dataset?"))
    #expect(fault.message.contains("stray"))
    #expect(fault.message.contains("3 mistakes"))
  }

  @Test("a misspelt flag of the form of swift sft is recognised in a line of the other form")
  func unknownOfOtherForm() throws {
    let fault = try trainFault(["--lerning_rate", "1"])
    #expect(fault.message.contains("did you mean --learning_rate?"))
  }

  @Test("--ckpt_dir is the model or one more adapter by what is in it, --lora_modules are adapters")
  func oldSpellings() throws {
    let folder = try TemporaryFolder()
    let tuning = ["--train_type", "lora"]
    #expect(try train(["--ckpt_dir", folder.path] + tuning).model.model == folder.path)
    try Data("{}".utf8).write(to: URL(fileURLWithPath: folder.path + "/adapter_config.json"))
    let one = try train(["--model", "m", "--ckpt_dir", folder.path] + tuning)
    #expect(one.model.model == "m" && one.tuner.adapters == [folder.path])
    let listed = try train(["--model", "m", "--lora_modules", folder.path] + tuning)
    #expect(listed.tuner.adapters == [folder.path])
    let both = try trainFault(
      ["--model", "m", "--adapters", "a", "--lora_modules", folder.path] + tuning)
    #expect(both.description.contains("one folder"))
  }

  @Test("--ignore_args_error true turns unknown options into warnings")
  func ignoreErrors() throws {
    let options = try train(["--ignore_args_error", "true", "--whatever", "1"])
    #expect(options.report.warnings.contains { $0.contains("--whatever") })
  }

  @Test("paths are made absolute and ~ is expanded")
  func paths() throws {
    let options = try train(["--save", "out/../runs", "--tensorboard_dir", "~/tb"])
    #expect(options.checkpoint.save == FileManager.default.currentDirectoryPath + "/runs")
    #expect(options.logging.tensorboardDir == NSHomeDirectory() + "/tb")
  }

  @Test("any bytes on the command line give a fault or options, never a crash")
  func fuzz() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SplitMix(state: seed)
    let pieces = [
      "--", "-", "=", "no_", "lr", "dataset", "--lr", "{", "}", "\"", "1e3", "-1", "", " ", "é",
      "\u{0}", "--no_", "model", "--help=", "_", "--columns", "[", "9999999999999999999999",
    ]
    for _ in 0..<400 {
      let words = (0..<Int(random.next() % 6)).map { _ in
        (0..<Int(random.next() % 4)).map { _ in pieces[Int(random.next() % UInt64(pieces.count))] }
          .joined()
      }
      do {
        _ = try train(words)
      } catch let fault as Fault {
        #expect(!fault.message.isEmpty, "seed \(seed)")
      } catch is Unexpected {
        // --help and friends print a text.
      }
    }
  }
}

struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
