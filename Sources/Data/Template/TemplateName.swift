import Support

/// The chat templates that are built in. All write ChatML turns, have no system text of their
/// own, and write tools as Hermes does; they differ in how they treat reasoning.
public enum TemplateName: String, Sendable, CaseIterable {
  /// Hybrid models: a reply without reasoning begins with an empty `<think>` block.
  case qwen3
  /// Models that always reason: a prompt ends inside an open `<think>` block.
  case qwen3Thinking = "qwen3_thinking"
  case qwen3NoThinking = "qwen3_nothinking"
  case qwen3VL = "qwen3_vl"

  /// The template of `--template`.
  /// - Throws: DATA-205.
  public init(named name: String) throws(Fault) {
    guard let template = TemplateName(rawValue: name) else {
      throw Fault(
        .unknownTemplate, "there is no template \"\(name)\"", at: .flag("template"),
        expected: Self.allCases.map(\.rawValue).joined(separator: ", "), found: name,
        fix: "name one of these, or leave --template away: the model folder decides")
    }
    self = template
  }

  /// Put in front of a reply that has no reasoning.
  var emptyThinking: String? { self == .qwen3 ? "<think>\n\n</think>\n\n" : nil }

  /// Whether the reasoning of earlier rounds is left out of prompts.
  var cutsEarlierThinking: Bool { self == .qwen3 || self == .qwen3Thinking }

  /// What a prompt ends with, after the mark of the assistant's turn.
  var responsePrefix: String { self == .qwen3Thinking ? "<think>\n" : "" }

  /// Tokens that stand for parts of pictures and clips; cutting a row keeps them.
  var placeholders: [String] { self == .qwen3VL ? ["<|image_pad|>", "<|video_pad|>"] : [] }
}
