import Foundation
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct TokenizerTests {
  @Test("A byte-level tokenizer has one id per byte and its added tokens")
  func byteLevel() throws {
    let tokenizer = try TextFixtures.byteLevel()
    #expect(tokenizer.idCount == 262)
    #expect(tokenizer.encode("!\"a") == [0, 1, 64])
    #expect(tokenizer.encode("<|im_end|>") == [258])
    #expect(tokenizer.endID == 258 && tokenizer.padID == 256)
    #expect(tokenizer.encode("é").count == 2)
  }

  @Test("A written tokenizer is read back the same, from either set of files")
  func roundTrip() throws {
    let folder = try Fixtures.Folder()
    let tokenizer = try TextFixtures.byteLevel()
    try tokenizer.write(to: folder.path)
    let text = "Hé <think>x</think>\n<|im_end|> 中"
    let again = try Tokenizer(folder: folder.path)
    #expect(again.encode(text) == tokenizer.encode(text))
    #expect(again.addedTokens == tokenizer.addedTokens)
    #expect(again.endID == tokenizer.endID && again.padID == tokenizer.padID)
    #expect(again.digest == tokenizer.digest)
    try FileManager.default.removeItem(atPath: folder.path + "/tokenizer.json")
    let fromVocab = try Tokenizer(folder: folder.path)
    #expect(fromVocab.encode(text) == tokenizer.encode(text))
    #expect(fromVocab.addedTokens == tokenizer.addedTokens)
  }

  @Test("Merges are read as texts and as lists, and written back")
  func merges() throws {
    let qwen = try TextFixtures.qwen.get()
    let folder = try Fixtures.Folder()
    try qwen.write(to: folder.path)
    let again = try Tokenizer(folder: folder.path)
    #expect(again.digest == qwen.digest)
    let file = folder.path + "/tokenizer.json"
    var root = try #require(
      try JSONValue.parse(String(contentsOfFile: file, encoding: .utf8)).object)
    var model = try #require(root["model"]?.object)
    let pairs = try #require(model["merges"]?.array).map { merge in
      JSONValue.array((merge.string ?? "").split(separator: " ").map { .string(String($0)) })
    }
    model["merges"] = .array(pairs)
    root["model"] = .object(model)
    try JSONValue.object(root).write().write(toFile: file, atomically: true, encoding: .utf8)
    #expect(try Tokenizer(folder: folder.path).digest == qwen.digest)
  }

  @Test("Of two added tokens at one place the longer is matched")
  func longest() throws {
    let tokenizer = try Tokenizer.byteLevel(special: ["<a>", "<a><b>"])
    #expect(tokenizer.encode("<a><b><a>") == [257, 256])
  }

  @Test("Special tokens are left out on demand, plain added ones stay")
  func skipSpecial() throws {
    let tokenizer = try TextFixtures.byteLevel()
    let ids = tokenizer.encode("a<|im_end|><think>b")
    #expect(tokenizer.decode(ids, skipSpecial: true) == "a<think>b")
    #expect(tokenizer.decode(ids) == "a<|im_end|><think>b")
  }

  @Test("Each maximal bad part becomes one replacement character")
  func invalidUTF8() throws {
    let tokenizer = try TextFixtures.byteLevel()
    func ids(_ bytes: [UInt8]) -> [Int32] { bytes.map { tokenizer.byteIDs[Int($0)] } }
    #expect(tokenizer.decode(ids([0x61, 0xE4, 0xBD, 0x62])) == "a\u{FFFD}b")
    #expect(tokenizer.decode(ids([0xF0, 0x9F, 0x99])) == "\u{FFFD}")
    #expect(tokenizer.decode(ids([0x80, 0x80])) == "\u{FFFD}\u{FFFD}")
    #expect(tokenizer.decode(ids([0xE0, 0x80, 0x80])) == "\u{FFFD}\u{FFFD}\u{FFFD}")
    #expect(tokenizer.decode([-1, 100_000]) == "")
  }

  @Test("A stream gives whole characters only, and together the same text")
  func stream() throws {
    let tokenizer = try TextFixtures.byteLevel()
    var decoder = TokenStreamDecoder(tokenizer)
    let pieces = tokenizer.encode("a中🙂").map { decoder.append($0) } + [decoder.finish()]
    #expect(pieces == ["a", "", "", "中", "", "", "", "🙂", ""])
    _ = decoder.append(tokenizer.byteIDs[0xE4])
    #expect(decoder.finish() == "\u{FFFD}")
  }

  @Test("Long runs without a break give the same ids as short ones")
  func longPieces() throws {
    let qwen = try TextFixtures.qwen.get()
    // 400 letters go through the heap; the merges of a run of one letter know no place.
    let long = qwen.encode(String(repeating: "ab", count: 200))
    #expect(qwen.decode(long) == String(repeating: "ab", count: 200))
    let vocabulary = PieceMerger(byteIDs: qwen.byteIDs, merges: qwen.merges)
    var merger = vocabulary
    for text in ["The quick brown fox", "nation station", "aaaaaaaaaaaa", "supercalifragilistic"] {
      var short: [Int32] = []
      var heap: [Int32] = []
      Array(text.utf8).withUnsafeBufferPointer {
        merger.mergeShort($0, into: &short)
        merger.mergeLong($0, into: &heap)
      }
      #expect(short == heap)
    }
  }
}

@Suite struct TokenizerFaultTests {
  private func load(_ files: [String: String]) throws -> Fault? {
    let folder = try Fixtures.Folder()
    for (name, text) in files { _ = try folder.write(name, text) }
    return TextFixtures.fault { _ = try Tokenizer(folder: folder.path) }
  }

  /// The byte-level tokenizer with one part of its file replaced.
  private func changed(_ old: String, _ new: String) throws -> Fault? {
    let folder = try Fixtures.Folder()
    try TextFixtures.byteLevel().write(to: folder.path)
    let file = folder.path + "/tokenizer.json"
    let text = try String(contentsOfFile: file, encoding: .utf8)
    try #require(text.contains(old))
    try text.replacingOccurrences(of: old, with: new)
      .write(toFile: file, atomically: true, encoding: .utf8)
    return TextFixtures.fault { _ = try Tokenizer(folder: folder.path) }
  }

  @Test("A folder without a tokenizer says which files were looked for")
  func missing() throws {
    let fault = try load([:])
    #expect(fault?.code == .missingTokenizer)
    #expect(fault?.expected?.contains("tokenizer.json") == true)
  }

  @Test("A file that is not JSON is named with line and column")
  func notJSON() throws {
    let fault = try load(["tokenizer.json": "{\"model\": \n oops}"])
    #expect(fault?.code == .badJSON)
    guard case .file(let path, let line, _)? = fault?.place else {
      Issue.record("no place")
      return
    }
    #expect(path.hasSuffix("tokenizer.json") && line == 2)
  }

  @Test("A vocabulary without some byte is refused")
  func missingByte() throws {
    let fault = try changed("\"!\": 0,", "")
    #expect(fault?.code == .badTokenizer && fault?.message.contains("byte 33") == true)
  }

  @Test("A merge of unknown tokens is refused with its number")
  func badMerge() throws {
    let fault = try changed("\"merges\": []", "\"merges\": [\"a b\"]")
    #expect(fault?.code == .badTokenizer && fault?.message.contains("merge 1") == true)
  }

  @Test("Another model, split pattern or normalizer is refused")
  func unsupported() throws {
    #expect(try changed("\"BPE\"", "\"Unigram\"")?.code == .unsupportedTokenizer)
    #expect(try changed("\\\\p{N}| ?", "\\\\p{N}{1,3}| ?")?.code == .unsupportedTokenizer)
    #expect(try changed("\"NFC\"", "\"NFKC\"")?.code == .unsupportedTokenizer)
    #expect(try changed("\"lstrip\": false", "\"lstrip\": true")?.code == .unsupportedTokenizer)
  }

  @Test("Ids that clash, are negative or beyond all bounds are refused")
  func badIDs() throws {
    #expect(try changed("\"!\": 0,", "\"!\": 1,")?.code == .badTokenizer)
    #expect(try changed("\"!\": 0,", "\"!\": -1,")?.code == .badTokenizer)
    #expect(try changed("\"!\": 0,", "\"!\": 99999999999,")?.code == .badTokenizer)
    #expect(try changed("\"!\": 0,", "\"!\": 1.5,")?.code == .badTokenizer)
  }

  @Test("An end token that is no token is refused")
  func badEnd() throws {
    let folder = try Fixtures.Folder()
    try TextFixtures.byteLevel().write(to: folder.path)
    _ = try folder.write("tokenizer_config.json", #"{"eos_token": "<|nowhere|>"}"#)
    let fault = TextFixtures.fault { _ = try Tokenizer(folder: folder.path) }
    #expect(fault?.code == .badTokenizer && fault?.message.contains("<|nowhere|>") == true)
  }
}
