import CMedia
import Foundation
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct Pictures {
  /// Random bytes of a picture.
  private func noise(_ size: PictureSize, _ random: inout RandomState) -> RGBPicture {
    RGBPicture(
      size: size, bytes: (0..<size.pixels * 3).map { _ in UInt8(random.integer(below: 256)) })
  }

  @Test("The fast resampling has the bits of the definition", arguments: [1, 2, 3])
  func resampling(seed: Int) throws {
    var random = RandomState(seed: seed)
    for filter in [CMEDIA_BICUBIC, CMEDIA_BILINEAR] {
      for _ in 0..<6 {
        func side() -> Int { 1 + random.integer(below: 60) }
        let picture = noise(PictureSize(height: side(), width: side()), &random)
        let target = PictureSize(height: side(), width: side())
        for downFirst: Int32 in [0, 1] {
          var fast = [UInt8](repeating: 0, count: target.pixels * 3)
          var slow = fast
          let (h, w) = (Int64(picture.size.height), Int64(picture.size.width))
          let (outH, outW) = (Int64(target.height), Int64(target.width))
          #expect(
            cmedia_resize(picture.bytes, h, w, &fast, outH, outW, filter, downFirst) == CMEDIA_OK)
          #expect(
            cmedia_resize_reference(picture.bytes, h, w, &slow, outH, outW, filter, downFirst)
              == CMEDIA_OK)
          #expect(fast == slow, "seed \(seed): \(picture.size) to \(target)")
        }
      }
    }
  }

  @Test("Patches lie in merged order, colours before rows")
  func patches() throws {
    let settings = MediaSettings()
    let size = PictureSize(height: 64, width: 32)
    // A pixel is told by its colour: row, column, and their sum.
    let bytes = (0..<64).flatMap { y in
      (0..<32).flatMap { x in [UInt8(y), UInt8(x), UInt8(y + x)] }
    }
    var patches = [UInt8](repeating: 0, count: 8 * 3 * 256)
    cmedia_patches(bytes, 64, 32, 16, 2, 0, 1, &patches)
    let corners = (0..<8).map { p in (0..<3).map { patches[(p * 3 + $0) * 256] } }
    #expect(
      corners == [
        [0, 0, 0], [0, 16, 16], [16, 0, 16], [16, 16, 32], [32, 0, 32], [32, 16, 48], [48, 0, 48],
        [48, 16, 64],
      ])
    // Row 3, column 5 of the second patch.
    #expect(patches[(1 * 3 + 1) * 256 + 3 * 16 + 5] == 21)
    #expect(size.pixels * 3 == patches.count)
    #expect(settings.factor == 32)
  }

  @Test("Pixels are normalised by mean and deviation of each colour, a picture filling both times")
  func normalising() throws {
    var settings = MediaSettings()
    settings.mean = [0.5, 0.25, 0]
    settings.deviation = [0.5, 0.25, 1]
    var item = MediaItem(
      grid: MediaGrid(t: 1, h: 1, w: 1),
      recipe: .picture(MediaFixtures.name("a"), capped: nil, size: .init(height: 16, width: 16)))
    item.patches = MediaPatches(bytes: [UInt8](repeating: 255, count: 3 * 256), slots: 1)
    let pixels = try settings.pixels(of: [item])
    #expect(pixels.count == 3 * 2 * 256)
    #expect([pixels[0], pixels[256], pixels[512], pixels[1024]] == [1, 1, 3, 1])
    item.patches = nil
    #expect(throws: Fault.self) { try settings.pixels(of: [item]) }
  }

  @Test("A GIF gives its first picture, a WebP its colours")
  func otherKinds() throws {
    let gif: [UInt8] = [
      0x47, 0x49, 0x46, 0x38, 0x39, 0x61, 0x0A, 0x00, 0x0A, 0x00, 0x91, 0x00, 0x00, 0xFF, 0xFF,
      0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0x00, 0x00, 0x00, 0x21, 0xF9, 0x04, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x2C, 0x00, 0x00, 0x00, 0x00, 0x0A, 0x00, 0x0A, 0x00, 0x00, 0x02, 0x16,
      0x8C, 0x2D, 0x99, 0x87, 0x2A, 0x1C, 0xDC, 0x33, 0xA0, 0x02, 0x75, 0xEC, 0x95, 0xFA, 0xA8,
      0xDE, 0x60, 0x8C, 0x04, 0x91, 0x4C, 0x01, 0x00, 0x3B,
    ]
    let limits = MediaLimits()
    let picture = try EncodedPicture(gif, MediaFixtures.name("a.gif"), limits: limits)
    let decoded = try picture.decoded().picture
    #expect(decoded.size == PictureSize(height: 10, width: 10))
    #expect(Array(decoded.bytes[0..<3]) == [255, 0, 0])
    #expect(Array(decoded.bytes[27..<30]) == [0, 0, 255])
    for text in [
      "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA",
      "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==",
    ] {
      let bytes = [UInt8](try #require(Data(base64Encoded: text)))
      let webp = try EncodedPicture(bytes, MediaFixtures.name("a.webp"), limits: limits)
      #expect(webp.size == PictureSize(height: 1, width: 1))
      #expect(try webp.decoded().picture.bytes.count == 3)
    }
  }

  @Test("A picture that claims 2³¹ pixels is refused by its header")
  func hugeClaim() throws {
    var png: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 13]
    png += Array("IHDR".utf8) + [0, 0, 0x80, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 0]
    let fault = try #require(
      TextFixtures.fault {
        _ = try EncodedPicture(png, MediaFixtures.name("bomb.png"), limits: MediaLimits())
      })
    #expect(fault.code == .mediaTooLarge)
    #expect(fault.message.contains("32768×65536"))
  }

  @Test(
    "Damaged pictures are told apart",
    arguments: [
      ("truncated.jpg", "the picture is cut short"),
      ("header_only.jpg", "the picture is cut short"),
      ("text_named.jpg", "not a picture"), ("zero.png", "the file is empty"),
      ("bad_crc.png", "the picture is damaged"), ("line_1x400.png", "aspect ratio 400 is over 200"),
    ])
  func damaged(file: String, message: String) throws {
    let processor = MediaFixtures.processor()
    let name = MediaFixtures.name("bad/media/\(file)")
    let fault = try #require(
      TextFixtures.fault {
        let item = try processor.measurePicture(name).item
        _ = try processor.check(EncodedRow(inputIDs: [1], labels: [1], media: [item]))
      })
    #expect(fault.message.contains(message))
    #expect(fault.message.hasPrefix("images[0]: bad/media/\(file): "))
    #expect(fault.isOfRow)
  }

  @Test("Flipped bytes end in pixels or a fault of the row, never worse", arguments: 1...4)
  func flippedBytes(seed: Int) throws {
    var random = RandomState(seed: seed)
    for file in ["thumb_40x27.jpg", "onebit.png", "palette_trns.png", "gray_alpha.png"] {
      let good = [UInt8](
        try #require(FileManager.default.contents(atPath: "\(Fixtures.data)/media/\(file)")))
      for _ in 0..<20 {
        var bytes = good
        for _ in 0..<1 + random.integer(below: 6) {
          bytes[random.integer(below: bytes.count)] = UInt8(random.integer(below: 256))
        }
        if random.integer(below: 3) == 0 { bytes.removeLast(random.integer(below: bytes.count)) }
        var limits = MediaLimits()
        limits.picturePixels = 1 << 20
        do throws(Fault) {
          _ = try EncodedPicture(bytes, MediaFixtures.name(file), limits: limits).decoded()
        } catch { #expect(error.isOfRow, "seed \(seed), \(file)") }
      }
    }
  }
}
