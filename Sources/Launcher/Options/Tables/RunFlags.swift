import Support

/// Options of this program that the reference does not have.
public struct RunFlags: Sendable {
  /// Instruction sets of the kernels.
  public enum CPULevel: String, OptionChoice {
    case auto, portable, avx2, avx512
    case avx512BF16 = "avx512_bf16"
  }
  /// Who multiplies matrices.
  public enum GEMMBackend: String, OptionChoice { case own, openblas }

  /// nil: cores of the node divided by its ranks.
  public var threads: Int?
  public var cpuLevel = CPULevel.auto
  public var gemmBackend = GEMMBackend.own
  public var showSamples = 1
  public var doctor = false
  /// Time after which a run saves and leaves with exit code 75.
  public var stopAfter: String?
  /// Seconds without progress that end the job; nil: 20 median steps, at least 60 s; 0: never.
  public var hangSeconds: Double?
  /// `auto` goes on from the newest run below `--save`.
  public var resume: String?
  /// Faults to provoke, as written.
  public var injectWords: [String] = []

  public init() {}

  /// Faults to provoke while saving.
  public var inject: [SaveFault] { injectWords.compactMap { SaveFault($0) } }

  /// Seconds of `stopAfter`.
  public var stopAfterSeconds: Int? { stopAfter.flatMap { Self.seconds(of: $0) } }

  /// Reads `3h50m`, `90m`, `1d`, `45s` or plain seconds.
  static func seconds(of text: String) -> Int? {
    if let plain = Int(text) { return plain > 0 ? plain : nil }
    let units: [Character: Int] = ["d": 86400, "h": 3600, "m": 60, "s": 1]
    var total = 0
    var digits = ""
    for character in text {
      if character.isASCII, character.isNumber {
        digits.append(character)
        continue
      }
      guard let unit = units[character], let count = Int(digits), count < 1_000_000 else {
        return nil
      }
      total += count * unit
      digits = ""
    }
    return digits.isEmpty && total > 0 ? total : nil
  }

  /// Rows of every program that computes.
  static let computeRows: [Option<RunFlags>] = [
    Option(\.threads, "threads", "Compute threads of each rank.").unset(
      "cores of the node / its ranks"
    )
    .environment("OMP_NUM_THREADS").atLeast(1),
    .init(\.cpuLevel, "cpu_level", "Instruction set of the kernels."),
    .init(
      \.gemmBackend, "gemm_backend",
      "Who multiplies fp32 matrices; with openblas layouts are not equal to the bit."),
  ].under(.own)

  static let trainingRows: [Option<RunFlags>] = [
    Option(\.showSamples, "show_samples", "Rendered rows printed at the start.").atLeast(0),
    Option(
      \.stopAfter, "stop_after", "Save and leave with exit code 75 after this time, e.g. 3h50m."
    ).check {
      guard case .text(let text) = $0, seconds(of: text) == nil else { return nil }
      return "expected a time such as 3h50m, 90m or 45s, got \"\(text)\""
    },
    Option(
      \.resume, "resume",
      "auto goes on from the newest run below --save that has a complete checkpoint."
    ).oneOf(["auto"]),
    later("check_gradients", .bool, .bool(false), "Compare gradients with finite differences."),
    Option(
      \.injectWords, "inject",
      "Provoke faults while saving, to see what a run makes of them: KIND@save.POINT[,rank=R][,step=N]."
    ).check {
      guard case .list(let words) = $0, let bad = words.first(where: { SaveFault($0) == nil })
      else { return nil }
      return "\"\(bad)\" is no fault: expected \(SaveFault.form)"
    },
    Option(
      \.hangSeconds, "hang_seconds",
      "End the job when no rank gets on for so long, with who waits for whom; 0 waits for ever."
    ).unset("20 median steps, at least 60").atLeast(0.0),
    Option(
      recorded: "check_collectives", .bool, .bool(false), "Compare the collectives of all ranks."
    )
    .noEffect("ranks that share memory compare every call anyway"),
    later("audit_every", .int, .unset, "Compute a step twice every so many."),
    later("replay", .text, .unset, "Repeat the run of a run.json."),
    .init(
      \.doctor, "doctor",
      "Examine the data sets without training: every fault with its place, lengths, packing."),
  ].under(.own)

  private static func later(
    _ name: String, _ kind: OptionKind, _ value: OptionValue, _ help: String
  ) -> Option<RunFlags> {
    Option(recorded: name, kind, value, help).refused("this is not built yet")
  }

  /// Options that print something and end the program, in every program.
  static let metaRows: [Option<RunFlags>] = [
    Option(recorded: "config", .text, "JSON file {option: value}; flags win over it.").path(),
    Option(recorded: "help", .bool, .bool(false), "Print this and stop (also -h)."),
    Option(
      recorded: "print_config", .bool, .bool(false),
      "Print every value and where it came from, and stop."),
    Option(
      recorded: "dump_options", .bool, .bool(false), "Print the option table as JSON and stop."),
    Option(
      recorded: "dump_markdown", .bool, .bool(false),
      "Print the option table as Markdown and stop."),
    Option(
      recorded: "explain", .text,
      "Explain an error code such as OPT-101 and stop; all lists every code."),
  ].under(.own)
}
