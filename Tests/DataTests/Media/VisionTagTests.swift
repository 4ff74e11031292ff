import Testing

@testable import DataPipeline
@testable import Support

@Suite struct VisionTagTests {
  private func text(_ row: StandardRow, _ template: ChatTemplate) throws -> String {
    let shown = template.tokenizer.decode(try template.encode(row).inputIDs)
    return shown.replacing(/(<\|(image|video)_pad\|>)+/) { "PAD*\($0.output.0.count / 13)" }
  }

  @Test("Missing tags stand in front of the first turn, clips before pictures")
  func missingTags() throws {
    let row = MediaFixtures.row(
      [("system", "s"), ("user", "q"), ("assistant", "a")], images: ["media/thumb_40x27.jpg"],
      videos: [.string("media/clip_5f_10fps.mp4")])
    let text = try text(row, MediaFixtures.template())
    #expect(
      text
        == "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n<0.1 seconds><|vision_start|>PAD*16"
        + "<|vision_end|><0.3 seconds><|vision_start|>PAD*16<|vision_end|><|vision_start|>PAD*6"
        + "<|vision_end|>q<|im_end|>\n<|im_start|>assistant\na<|im_end|>")
  }

  @Test("Surplus tags stay as text")
  func surplusTags() throws {
    let row = MediaFixtures.row(
      [("user", "<image>and<image>"), ("assistant", "a<video>")], images: ["media/thumb_40x27.jpg"])
    let text = try text(row, MediaFixtures.template())
    #expect(text.contains("<|vision_end|>and<image><|im_end|>"))
    #expect(text.hasSuffix("a<video><|im_end|>"))
  }

  @Test("A path between img marks is a picture")
  func inlinePath() throws {
    let row = MediaFixtures.row([
      ("user", "see <img>media/thumb_40x27.jpg</img> here"), ("assistant", "a"),
    ])
    let encoded = try MediaFixtures.template().encode(row)
    #expect(encoded.media.map(\.name) == ["media/thumb_40x27.jpg"])
  }

  @Test("Media are listed in the order in which their tokens stand")
  func order() throws {
    let row = MediaFixtures.row(
      [("user", "<video><image><video>"), ("assistant", "a")],
      images: ["media/thumb_40x27.jpg"],
      videos: [
        .string("media/clip_5f_10fps.mp4"),
        .array([
          .string("media/frames_reading/f01.png"), .string("media/frames_reading/f02.png"),
          .string("media/frames_reading/f03.png"),
        ]),
      ])
    let media = try MediaFixtures.template().encode(row).media
    #expect(media.map(\.isClip) == [true, false, true])
    #expect(media.map(\.grid.t) == [2, 1, 2])
    let loaded = try MediaFixtures.processor().load(
      EncodedRow(inputIDs: [], labels: [], media: media))
    for item in loaded.media {
      let patches = try #require(item.patches)
      #expect(patches.bytes.count == item.grid.patches * 3 * 256 * patches.slots)
    }
  }

  @Test("Placeholders in the user's own text are refused, not taken for pictures")
  func literalPads() throws {
    let row = MediaFixtures.row(
      [("user", "<image> <|image_pad|>"), ("assistant", "a")], images: ["media/thumb_40x27.jpg"])
    let fault = try #require(TextFixtures.fault { _ = try MediaFixtures.template().encode(row) })
    #expect(fault.message == "the text holds <|image_pad|> itself, 1 times")
    #expect(fault.place == .file("rows.jsonl", line: 7))
  }

  @Test("Boxes: points, shares, pixels of the resized picture, and those that leave the picture")
  func boxes() throws {
    func box(_ objects: String, _ change: (inout MediaSettings) -> Void = { _ in }) throws
      -> (text: String, warnings: [String])
    {
      var row = MediaFixtures.row(
        [("user", "<image>"), ("assistant", "<ref-object><bbox>")],
        images: ["media/thumb_40x27.jpg"])
      row.objects = try JSONValue.parse(objects)
      let template = try MediaFixtures.template(change)
      let encoded = try template.encode(row)
      return (TextFixtures.trained(encoded, template).joined(), encoded.warnings)
    }
    #expect(
      try box(#"{"ref": ["cat"], "bbox": [[10, 9]]}"#).text
        == "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(250,333)<|box_end|><|im_end|>")
    let new: (inout MediaSettings) -> Void = { $0.boxFormat = .new }
    let share = #"{"ref": ["cat"], "bbox": [[0.1, 0.2, 0.3, 0.4]], "bbox_type": "norm1"}"#
    #expect(try box(share, new).text == "cat[100, 200, 300, 400]<|im_end|>")
    let pixels = #"{"ref": ["cat"], "bbox": [[10, 9, 20, 27]]}"#
    #expect(
      try box(pixels) {
        $0.boxFormat = .new
        $0.boxScale = .none
      }.text == "cat[24, 21, 48, 64]<|im_end|>")
    let far = try box(#"{"ref": ["cat"], "bbox": [[0, 0, 80, 27]]}"#, new)
    #expect(far.text == "cat[0, 0, 2000, 1000]<|im_end|>")
    #expect(far.warnings.count == 1)
  }

  @Test("max_pixels scales a picture down before the rest")
  func maxPixels() throws {
    let small = MediaFixtures.settings {
      $0.maxPixels = 100_000
      $0.imageTokens = 4...16_384
    }
    #expect(small.cappedSize(.init(height: 480, width: 640)) == .init(height: 273, width: 365))
    #expect(small.cappedSize(.init(height: 100, width: 640)) == nil)
    let item = try MediaProcessor(small).measurePicture(MediaFixtures.name("media/bottle.jpg")).item
    #expect(item.grid == MediaGrid(t: 1, h: 18, w: 22))
    _ = try MediaProcessor(small).loaded(item)
  }

  @Test("Settings come from the environment and are checked")
  func environment() throws {
    var settings = MediaSettings()
    let lines = try settings.read([
      "IMAGE_MAX_TOKEN_NUM": "1024", "VIDEO_MAX_TOKEN_NUM": "128", "FPS_MAX_FRAMES": "16",
      "FPS": "0.5", "QWENVL_BBOX_FORMAT": "new", "ROOT_IMAGE_DIR": "/pictures", "OTHER": "x",
    ])
    #expect(settings.imageTokens == 4...1024)
    #expect(settings.videoMaxTokens == 128 && settings.maxFrames == 16 && settings.fps == 0.5)
    #expect(settings.boxFormat == .new && settings.rootFolder == "/pictures")
    #expect(lines.count == 6)
    for (name, value) in [
      ("FPS", "-1"), ("IMAGE_MAX_TOKEN_NUM", "many"), ("IMAGE_MIN_TOKEN_NUM", "20000"),
      ("QWENVL_BBOX_FORMAT", "newer"),
    ] {
      var other = MediaSettings()
      #expect(throws: Fault.self, "\(name)") { _ = try other.read([name: value]) }
    }
  }
}
