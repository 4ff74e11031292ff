import Foundation
import Testing

@testable import Support

@Suite struct DigestTests {
  @Test("SHA-256 and SHA-1 of the standard's examples, in one piece and in many")
  func examples() {
    func hex(_ text: String, _ kind: Digest.Kind = .sha256) -> String {
      let digest = Digest(kind)
      for byte in text.utf8 { digest.update([byte]) }
      return digest.hexadecimal()
    }
    #expect(hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(
      hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
        == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    #expect(hex("abc", .sha1) == "a9993e364706816aba3e25717850c26c9cd0d89d")
  }

  @Test("More may be added after a digest was taken")
  func goesOn() {
    let digest = Digest(.sha256)
    digest.update(Array("ab".utf8))
    _ = digest.finish()
    digest.update(Array("c".utf8))
    #expect(digest.hexadecimal().hasPrefix("ba7816bf8f01cfea"))
  }

  @Test("A secret shows itself to nobody who describes, dumps or mirrors it")
  func secret() throws {
    let secret = try #require(Secret(" hf_CANARY\n"))
    #expect(secret.reveal() == "hf_CANARY")
    var dumped = ""
    dump(secret, to: &dumped)
    for text in ["\(secret)", "\([secret])", String(reflecting: secret), dumped] {
      #expect(!text.contains("CANARY"))
    }
    #expect(Secret(" \n") == nil)
    #expect(Secret("two words") == nil)
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
    #expect(limit.rlim_cur == 0)
  }

  @Test("A file of a secret that others may read is refused with the command that mends it")
  func openFile() throws {
    let path = NSTemporaryDirectory() + "/secret-" + AtomicFile.uniqueName()
    defer { unlink(path) }
    try AtomicFile.write("hf_CANARY\n", to: path)
    chmod(path, 0o644)
    let fault = #expect(throws: Fault.self) { try Secret(file: path) }
    #expect(fault?.code == .openSecret)
    #expect(fault?.fix == "chmod 600 \(path)")
    chmod(path, 0o600)
    #expect(try Secret(file: path).reveal() == "hf_CANARY")
  }

  @Test("A lock is held by one at a time, and free again when its holder is gone")
  func lock() throws {
    let path = NSTemporaryDirectory() + "/lock-" + AtomicFile.uniqueName()
    defer { unlink(path) }
    var first: FileLock? = try FileLock(path)
    var asked = 0
    let fault = #expect(throws: Fault.self) {
      _ = try FileLock(
        path,
        isStopped: {
          asked += 1
          return asked > 1
        })
    }
    #expect(fault?.code == .stopped)
    withExtendedLifetime(first) {}
    first = nil
    _ = try FileLock(path)
  }
}
