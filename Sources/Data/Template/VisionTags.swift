import Support

/// Qwen3-VL's tags (data.md 6): pictures become runs of `<|image_pad|>`, clips a time and a run of
/// `<|video_pad|>` for each frame pair.
public struct VisionTags: MediaExpansion {
  static let start = "<|vision_start|>"
  static let end = "<|vision_end|>"
  static let imagePad = "<|image_pad|>"
  static let videoPad = "<|video_pad|>"

  let processor: MediaProcessor
  let tokenizer: Tokenizer
  private let imageID: Int32
  private let videoID: Int32
  private let startID: Int32
  private let endID: Int32

  /// - Throws: DATA-206 if the tokenizer has no token for pictures.
  public init(_ processor: MediaProcessor, tokenizer: Tokenizer) throws(Fault) {
    func id(_ token: String) throws(Fault) -> Int32 {
      guard let id = tokenizer.id(of: token) else {
        throw Fault(
          .badTemplateOption, "the tokenizer has no token \(token)", at: .flag("template"),
          fix: "use the tokenizer of the Qwen3-VL model")
      }
      return id
    }
    self.processor = processor
    self.tokenizer = tokenizer
    imageID = try id(Self.imagePad)
    videoID = try id(Self.videoPad)
    startID = try id(Self.start)
    endID = try id(Self.end)
  }

  public var fingerprint: String { processor.settings.fingerprint }

  public func prepare(_ row: StandardRow) throws(Fault) -> PreparedMedia {
    do throws(Fault) { return try measured(row) } catch {
      var fault = error
      fault.place = fault.place ?? .file(row.source.file, line: row.source.line)
      throw fault
    }
  }

  private func measured(_ row: StandardRow) throws(Fault) -> PreparedMedia {
    var row = row
    takeInlinePaths(&row)
    addMissingTags(&row)
    var media = PreparedMedia(row: row)
    for (i, value) in row.images.enumerated() {
      guard let source = MediaSource(value) else {
        throw Fault(.badMedia, "images[\(i)] names no picture", fix: "give the path of a picture")
      }
      let name = MediumName(field: "images[\(i)]", source: source)
      media.pictures.append(try processor.measurePicture(name))
    }
    for (i, value) in row.videos.enumerated() {
      media.clips.append(try processor.measureClip(value, field: "videos[\(i)]"))
    }
    guard row.audios.isEmpty else {
      throw Fault(
        .badMedia, "the row has sound, which the model does not read", fix: "take it out")
    }
    try BoxTexts(settings: processor.settings).write(into: &media)
    return media
  }

  /// `<img>path</img>` in the text of a row without pictures is one.
  private func takeInlinePaths(_ row: inout StandardRow) {
    guard row.images.isEmpty else { return }
    for i in row.messages.indices where row.messages[i].role != "system" {
      guard PythonText.contains(row.messages[i].content, "<img>") else { continue }
      let parts = row.messages[i].content.pieces(between: "<img>", and: "</img>")
      row.messages[i].content = parts.map { $0.isInside ? "<image>" : $0.text }.joined()
      row.images += parts.filter(\.isInside).map {
        .object(JSONObject([("path", .string($0.text))]))
      }
    }
  }

  /// Tags that are missing go to the very front of the first turn, pictures before clips are put
  /// there, so that they end behind them.
  private func addMissingTags(_ row: inout StandardRow) {
    guard let first = row.messages.firstIndex(where: { $0.role != "system" }) else { return }
    for (tag, count) in [("<image>", row.images.count), ("<video>", row.videos.count)] {
      let tags = row.messages.reduce(0) { $0 + $1.content.count(ofMark: tag) }
      guard count > tags else { continue }
      row.messages[first].content =
        String(repeating: tag, count: count - tags) + row.messages[first].content
    }
  }

  public func expand(_ segments: [Segment], with media: PreparedMedia) -> [Segment] {
    let picture = Self.start + Self.imagePad + Self.end
    let clip = Self.start + Self.videoPad + Self.end
    var images = TagTexts([String](repeating: picture, count: media.pictures.count))
    var videos = TagTexts([String](repeating: clip, count: media.clips.count))
    var references = TagTexts(media.references)
    var boxes = TagTexts(media.boxes)
    var result: [Segment] = []
    for segment in segments {
      for piece in segment.text.pieces(at: ["<image>"]) {
        if let text = piece.tag.flatMap({ _ in images.next() }) {
          result.append(Segment(text, weight: 0))
        } else {
          result.append(Segment(piece.text, weight: segment.weight))
        }
      }
    }
    var finished: [Segment] = []
    for segment in result {
      for piece in segment.text.pieces(at: ["<video>", "<ref-object>", "<bbox>"]) {
        switch piece.tag {
        case "<video>":
          guard let text = videos.next() else { fallthrough }
          finished.append(Segment(text, weight: 0))
        case "<ref-object>":
          finished.append(Segment(references.next() ?? piece.text, weight: segment.weight))
        case "<bbox>":
          finished.append(Segment(boxes.next() ?? piece.text, weight: segment.weight))
        default: finished.append(Segment(piece.text, weight: segment.weight))
        }
      }
    }
    return finished
  }

  /// - Throws: DATA-402 if the text holds placeholders itself, or lost one to the template.
  public func expand(_ row: EncodedRow, with media: PreparedMedia) throws(Fault) -> EncodedRow {
    try checkCounts(row, media)
    guard !media.pictures.isEmpty || !media.clips.isEmpty else { return row }
    var result = EncodedRow(
      inputIDs: [], labels: [], lossScale: row.lossScale.map { _ in [] }, channel: row.channel)
    var pictures = media.pictures.makeIterator()
    var clips = media.clips.makeIterator()
    let tokens = processor.settings.merge * processor.settings.merge
    func put(_ id: Int32, _ label: Int32, _ weight: Float?, count: Int = 1) {
      result.inputIDs += repeatElement(id, count: count)
      result.labels += repeatElement(label, count: count)
      result.lossScale? += repeatElement(weight ?? 0, count: count)
    }
    for (i, id) in row.inputIDs.enumerated() {
      if id == imageID, let picture = pictures.next() {
        put(id, ChatTemplate.ignored, 0, count: picture.item.grid.patches / tokens)
        result.media.append(picture.item)
      } else if id == videoID, let clip = clips.next() {
        // The marks round the tag give way to those of each frame pair.
        result.dropLastToken()
        for time in clip.times {
          for part in tokenizer.encode(time) { put(part, ChatTemplate.ignored, 0) }
          put(startID, ChatTemplate.ignored, 0)
          put(
            id, ChatTemplate.ignored, 0, count: clip.item.grid.h * clip.item.grid.w / tokens)
          put(endID, ChatTemplate.ignored, 0)
        }
        result.media.append(clip.item)
      } else if i == 0 || row.inputIDs[i - 1] != videoID {
        put(id, row.labels[i], row.lossScale?[i])
      }
    }
    result.warnings = row.warnings + media.warnings
    return result
  }

  private func checkCounts(_ row: EncodedRow, _ media: PreparedMedia) throws(Fault) {
    for (id, token, wanted) in [
      (imageID, Self.imagePad, media.pictures.count), (videoID, Self.videoPad, media.clips.count),
    ] {
      let found = row.inputIDs.count { $0 == id }
      guard found != wanted else { continue }
      let source = media.row.source
      throw Fault(
        .badMedia,
        found > wanted
          ? "the text holds \(token) itself, \(found - wanted) times"
          : "\(wanted - found) of the tags of \(wanted) media are not in the rendered text",
        at: .file(source.file, line: source.line),
        fix: found > wanted ? "write <image> or <video>" : "put the tags into the last round")
    }
  }
}

extension EncodedRow {
  fileprivate mutating func dropLastToken() {
    inputIDs.removeLast()
    labels.removeLast()
    lossScale?.removeLast()
  }
}

/// Texts that tags stand for, used up in order.
private struct TagTexts {
  private var left: ArraySlice<String>
  init(_ texts: [String]) { left = texts[...] }
  mutating func next() -> String? { left.popFirst() }
}
