/// The programs of the project.
public enum ProgramName: String, Sendable, CaseIterable {
  case sft, pt, export, infer, parity, bench

  /// `megatron-sft`, the name of the binary.
  public var binary: String { "megatron-\(rawValue)" }

  /// One sentence for `--help` and for the dispatcher.
  public var summary: String {
    switch self {
    case .sft: return "supervised fine-tuning of Qwen3 and Qwen3-MoE on the ranks of an MPI job"
    case .pt: return "training on plain text, with the options of megatron-sft"
    case .export: return "conversion between published models and Megatron checkpoints"
    case .infer: return "interactive and batch generation"
    case .parity: return "comparison with stored results of a reference, tensor by tensor"
    case .bench: return "measurement of kernels, collectives and whole steps on this machine"
    }
  }

  /// Lines of `--help` that say how the program is started.
  var usage: [String] {
    switch self {
    case .sft, .pt:
      return [
        "\(binary) OPTIONS", "mpirun -n N \(binary) OPTIONS",
        "NPROC_PER_NODE=N megatron \(rawValue) OPTIONS", "\(binary) FILE.json",
      ]
    case .bench:
      return ["\(binary) [\(BenchFlags.knownKinds.joined(separator: "|"))] OPTIONS"]
    default: return ["\(binary) OPTIONS", "\(binary) FILE.json"]
    }
  }
}
