import Foundation
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct TokenizerPropertyTests {
  /// A small generator of its own, so that a printed seed repeats a failure anywhere.
  private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
      return z ^ z >> 31
    }
  }

  private static func seed() -> UInt64 {
    ProcessInfo.processInfo.environment["MEGATRON_TEST_SEED"].flatMap(UInt64.init)
      ?? .random(in: 0..<1_000_000)
  }

  private static func text(_ generator: inout Generator) -> String {
    let marks = ["<|im_start|>", "<|im_end|>", "<think>", "'s", "'LL", "\r\n", "  ", "\u{3000}"]
    var scalars = String.UnicodeScalarView()
    for _ in 0..<Int.random(in: 0..<40, using: &generator) {
      let limit: UInt32 =
        [0x80, 0x80, 0x400, 0x3100, 0xAC80, 0x1_1000, 0x11_0000].randomElement(
          using: &generator) ?? 0x80
      if Int.random(in: 0..<8, using: &generator) == 0 {
        scalars += (marks.randomElement(using: &generator) ?? "").unicodeScalars
      } else if let scalar = Unicode.Scalar(UInt32.random(in: 0..<limit, using: &generator)) {
        scalars.append(scalar)
      }
    }
    return String(scalars)
  }

  @Test("Decoding the ids of any text gives its form C back")
  func roundTrip() throws {
    let seed = Self.seed()
    var generator = Generator(state: seed)
    for tokenizer in [try TextFixtures.byteLevel(), try TextFixtures.qwen.get()] {
      var encoder = TokenEncoder(tokenizer)
      for _ in 0..<200 {
        let text = Self.text(&generator)
        // Added tokens are taken out first, so parts between them are normalized apart.
        let wanted = Self.normalized(text, tokenizer)
        let decoded = tokenizer.decode(encoder.encode(text))
        #expect(
          decoded.utf8.elementsEqual(wanted.utf8), "seed \(seed), text \(text.debugDescription)")
      }
    }
  }

  /// Form C of the parts between added tokens, by Foundation.
  private static func normalized(_ text: String, _ tokenizer: Tokenizer) -> String {
    var bytes = Array(text.utf8)
    var result: [UInt8] = []
    while !bytes.isEmpty {
      let found = bytes.withUnsafeBufferPointer { tokenizer.rawMatcher.next(in: $0, from: 0) }
      let part = String(decoding: bytes[..<(found?.range.lowerBound ?? bytes.count)], as: UTF8.self)
      result += Array(part.precomposedStringWithCanonicalMapping.utf8)
      guard let found else { break }
      result += bytes[found.range]
      bytes.removeFirst(found.range.upperBound)
    }
    return String(decoding: result, as: UTF8.self)
  }

  @Test("Random bytes decode without a crash and to the same text as a stream")
  func randomBytes() throws {
    let seed = Self.seed()
    var generator = Generator(state: seed)
    let tokenizer = try TextFixtures.byteLevel()
    for _ in 0..<300 {
      let count = Int.random(in: 0..<24, using: &generator)
      let high = Bool.random(using: &generator)
      let ids = (0..<count).map { _ in
        tokenizer.byteIDs[Int(UInt8.random(in: (high ? 0x80 : 0)...0xFF, using: &generator))]
      }
      var decoder = TokenStreamDecoder(tokenizer)
      let streamed = ids.map { decoder.append($0) }.joined() + decoder.finish()
      let whole = tokenizer.decode(ids)
      #expect(streamed.utf8.elementsEqual(whole.utf8), "seed \(seed), ids \(ids)")
      #expect(whole.unicodeScalars.count <= count)
    }
  }

  @Test("The scanner cuts where the split pattern does")
  func scanner() throws {
    let seed = Self.seed()
    var generator = Generator(state: seed)
    let pattern = try NSRegularExpression(pattern: TokenizerJSON.splitPattern)
    for _ in 0..<150 {
      // ICU and utf8proc know different versions of Unicode: only long-known characters here.
      let text = String(
        String.UnicodeScalarView(
          Self.text(&generator).unicodeScalars.filter {
            $0.value < 0x3100 && $0.properties.age.map { $0.major < 9 } == true
          }))
      let wanted = pattern.matches(in: text, range: NSRange(text.startIndex..., in: text)).map {
        (text as NSString).substring(with: $0.range)
      }
      let bytes = Array(text.utf8)
      let found = bytes.withUnsafeBufferPointer { buffer -> [String] in
        var scanner = PieceScanner(buffer, UnicodeTable.shared)
        var pieces: [String] = []
        var start = 0
        while let end = scanner.next() {
          pieces.append(String(decoding: buffer[start..<end], as: UTF8.self))
          start = end
        }
        return pieces
      }
      #expect(
        found.map { Array($0.utf8) } == wanted.map { Array($0.utf8) },
        "seed \(seed), text \(text.debugDescription)")
    }
  }
}
