import Foundation
import Testing

@testable import DataPipeline
@testable import Support

/// Media of the tests.
enum MediaFixtures {
  /// Settings of the stored rows, with files found beside the tests.
  static func settings(_ change: (inout MediaSettings) -> Void = { _ in }) -> MediaSettings {
    var settings = MediaSettings()
    settings.imageTokens = 4...16
    settings.videoMinTokens = 4
    settings.videoMaxTokens = 16
    settings.maxFrames = 8
    settings.baseFolder = Fixtures.data
    change(&settings)
    return settings
  }

  static func processor(_ change: (inout MediaSettings) -> Void = { _ in }) -> MediaProcessor {
    MediaProcessor(settings(change))
  }

  static func name(_ path: String) -> MediumName {
    MediumName(field: "images[0]", source: .file(path))
  }

  static func template(
    _ change: (inout MediaSettings) -> Void = { _ in }
  ) throws -> ChatTemplate {
    let tokenizer = try TextFixtures.qwen.get()
    var options = TemplateOptions(template: .qwen3VL)
    options.media = try VisionTags(processor(change), tokenizer: tokenizer)
    return try ChatTemplate(options: options, tokenizer: tokenizer)
  }

  static func row(
    _ messages: [(String, String)], images: [String] = [], videos: [JSONValue] = []
  ) -> StandardRow {
    var row = StandardRow(
      messages: messages.map { Message(role: $0.0, content: $0.1) },
      source: .init(file: "rows.jsonl", line: 7))
    row.images = images.map { .string($0) }
    row.videos = videos
    return row
  }

  /// Options for a file of rows with pictures.
  static func options(_ file: String) -> DataOptions {
    var options = Fixtures.options(file)
    options.rows.acceptsMedia = true
    return options
  }

  /// What becomes of a file of `data/bad`, with real media.
  static func prepare(
    _ file: String, _ change: (inout DataOptions) -> Void = { _ in }
  ) throws(Fault) -> PreparedData {
    var options = options(Fixtures.bad(file))
    change(&options)
    let template: ChatTemplate
    do { template = try Self.template() } catch {
      throw Fault(.internalError, "the tokenizer of the tests cannot be read", cause: error)
    }
    return try DatasetPlan.prepare(
      options: options, encode: { (row) throws(Fault) in try template.encode(row) },
      media: processor())
  }
}
