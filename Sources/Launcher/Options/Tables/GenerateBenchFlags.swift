import Support

/// Sizes of `megatron-bench generate`.
public struct GenerateBenchFlags: Sendable {
  public var prompts = ["512", "2048"]
  public var batches = ["1", "4"]
  public var contexts = ["128"]
  public var newTokens = 32

  public init() {}

  static let rows: [Option<GenerateBenchFlags>] = [
    counts(\.prompts, "prefill", "Tokens of the prompts whose reading is measured (generate)."),
    counts(\.batches, "batch", "Answers made at a time (generate)."),
    counts(\.contexts, "context", "Tokens before the first made one (generate)."),
    Option(\.newTokens, "new", "Tokens made by each answer (generate).").atLeast(1),
  ].under(.bench)

  private static func counts(
    _ path: WritableKeyPath<GenerateBenchFlags, [String]> & Sendable, _ name: String,
    _ help: String
  ) -> Option<GenerateBenchFlags> {
    Option(path, name, help).check {
      guard case .list(let words) = $0, let bad = words.first(where: { (Int($0) ?? 0) < 1 })
      else { return nil }
      return "\"\(bad)\" is no positive number"
    }
  }

  static func numbers(_ words: [String]) -> [Int] { words.compactMap { Int($0) } }
}
