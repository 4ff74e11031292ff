import Foundation
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct Clips {
  private func open(
    _ file: String, _ change: (inout MediaSettings) -> Void = { _ in }
  ) throws -> Clip {
    try Clip(
      MediaFixtures.name("media/\(file)"), MediaReader(settings: MediaFixtures.settings(change)))
  }

  @Test(
    "A frame is the same whether it is jumped to or reached one by one",
    arguments: ["clip_37f_12fps.mp4", "clip_30f_3fps_mpeg4.mp4"])
  func jumping(file: String) throws {
    let walked = try open(file)
    let frames = try (0..<walked.frames).map { try walked.frame($0) }
    for index in stride(from: 0, to: walked.frames, by: 7) {
      #expect(try open(file).frame(index) == frames[index], "frame \(index)")
    }
    // The same frame twice, and two far apart.
    let clip = try open(file)
    #expect(try clip.frame(3) == frames[3])
    #expect(try clip.frame(3) == frames[3])
    #expect(try clip.frame(walked.frames - 1) == frames[walked.frames - 1])
  }

  @Test("A clip from bytes gives the frames of the file")
  func fromBytes() throws {
    let reader = MediaReader(settings: MediaFixtures.settings())
    let bytes = try reader.bytes(MediaFixtures.name("media/clip_5f_10fps.mp4"), limit: 1 << 20)
    let text = "data:video/mp4;base64," + Data(bytes).base64EncodedString()
    let clip = try Clip(MediumName(field: "videos[0]", source: MediaSource(text: text)), reader)
    #expect(clip.frames == 5)
    #expect(try clip.frame(4) == open("clip_5f_10fps.mp4").frame(4))
  }

  @Test(
    "Damaged clips are told apart",
    arguments: [
      ("zero.mp4", "the file is empty"), ("cut.mp4", "the clip is damaged"),
      ("one_frame.mp4", "needs at least 2 frames, has 1"),
      ("audio_only.mp4", "the clip has no picture stream"),
      ("text_named.jpg", "not a clip"), ("gone.mp4", "does not exist"),
    ])
  func damaged(file: String, message: String) throws {
    let fault = try #require(
      TextFixtures.fault {
        _ = try MediaFixtures.processor().measureClip(
          .string("bad/media/\(file)"), field: "videos[0]")
      })
    #expect(fault.message.contains(message))
    #expect(fault.isOfRow)
  }

  @Test("Limits on frames, on their size and on both are kept before decoding")
  func limits() throws {
    for change: (inout MediaSettings) -> Void in [
      { $0.limits.frames = 30 }, { $0.limits.framePixels = 10_000 },
      { $0.limits.clipPixels = 192 * 108 * 30 },
    ] {
      let fault = try #require(TextFixtures.fault { _ = try open("clip_37f_12fps.mp4", change) })
      #expect(fault.code == .mediaTooLarge)
    }
  }

  @Test("Frames of different size in a list are refused")
  func unequalFrames() throws {
    let list: JSONValue = .array([
      .string("media/frames_reading/f01.png"), .string("media/strip.jpg"),
    ])
    let fault = try #require(
      TextFixtures.fault {
        _ = try MediaFixtures.processor { $0.imageTokens = 4...16_384 }.measureClip(
          list, field: "videos[0]")
      })
    #expect(fault.message.contains("videos[0][1]: media/strip.jpg: has another size"))
  }
}
