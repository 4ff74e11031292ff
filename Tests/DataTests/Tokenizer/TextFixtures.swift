import Foundation
import Testing

@testable import DataPipeline
@testable import Support

/// Tokenizers and rows of the tests on texts.
enum TextFixtures {
  /// Qwen3's tokenizer, reduced to the tokens of the goldens; the whole one where the
  /// environment names it.
  static let qwen = Result { () throws(Fault) in
    let full = ProcessInfo.processInfo.environment["MEGATRON_DATA"].map { $0 + "/qwen-tokenizer" }
    return try Tokenizer(folder: full ?? "\(Fixtures.root)/tokenizer")
  }

  /// 256 bytes and the marks of ChatML.
  static func byteLevel() throws -> Tokenizer {
    try .byteLevel(
      special: ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>"],
      plain: ["<think>", "</think>"], end: "<|im_end|>", pad: "<|endoftext|>")
  }

  static func row(_ messages: (String, String)...) -> StandardRow {
    StandardRow(
      messages: messages.map { Message(role: $0.0, content: $0.1) },
      source: .init(file: "rows.jsonl", line: 7))
  }

  static func template(
    _ name: TemplateName = .qwen3NoThinking, _ change: (inout TemplateOptions) -> Void = { _ in }
  ) throws -> ChatTemplate {
    var options = TemplateOptions(template: name)
    change(&options)
    return try ChatTemplate(options: options, tokenizer: byteLevel())
  }

  /// The text of each trained run.
  static func trained(_ row: EncodedRow, _ template: ChatTemplate) -> [String] {
    row.trainedSpans.map { template.tokenizer.decode(row.inputIDs[$0[0]..<$0[1]]) }
  }

  /// The fault that `body` ends with.
  static func fault(_ body: () throws -> Void) -> Fault? {
    do {
      try body()
      return nil
    } catch {
      return error as? Fault
    }
  }
}
