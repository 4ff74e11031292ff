import Foundation
import Support
import Tensor
import Testing

@testable import Checkpoint

/// Needs 4.3 GB of disk and an optimized build, so it runs only with `MEGATRON_LARGE=1`; a Python
/// with torch named by `MEGATRON_PYTHON` then reads the file too.
@Suite struct LargeItemTests {
  static var enabled: Bool { ProcessInfo.processInfo.environment["MEGATRON_LARGE"] == "1" }
  private static let block = 16 << 20
  private static let blocks = 258  // 4,328,521,728 bytes, beyond 32 bits

  @Test("An item above 4 GiB gets 64-bit records and is read back", .enabled(if: enabled))
  func large() throws {
    let folder = try TemporaryFolder()
    let spec = TensorSpec("big", .uint8, [Self.blocks, Self.block])
    let clock = ContinuousClock()
    var pattern = [UInt8](repeating: 7, count: Self.block)
    let content = pattern
    var report: RankReport?
    let writing = try clock.measure {
      let shard = TensorShard(spec, box: Box(shape: spec.shape)) { (emit) throws(Fault) in
        for i in 0..<Self.blocks {
          pattern[0] = UInt8(truncatingIfNeeded: i)
          try pattern.withRaw { (raw) throws(Fault) in try emit(raw) }
        }
      }
      report = try TorchDistWriter.write(tensors: [shard], to: folder.path, rank: 0)
    }
    let written = try #require(report)
    let files = try TorchDistWriter.finish(
      folder.path, reports: [written], common: CommonState(iteration: 1, args: []))
    let verifying = try clock.measure {
      try Manifest(iteration: 1, info: JSONObject(), files: files).verify(folder.path)
    }
    let reader = try TorchDistReader(folder.path)
    var last = content
    let reading = try clock.measure {
      try last.withMutableRaw { (raw) throws(Fault) in
        try reader.read("big", ranges: [257..<258, 0..<Self.block], into: raw)
      }
    }
    #expect(last[0] == 1 && last.dropFirst().allSatisfy { $0 == 7 })
    print("4.3 GB: written in \(writing), manifest verified in \(verifying), read in \(reading)")
    guard let python = AcceptanceTests.python else { return }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: python)
    process.arguments = [
      "-c",
      "import sys, torch; t = torch.load(sys.argv[1], mmap=True); "
        + "assert t.shape == (258, 16 << 20) and t[257, 0] == 1 and t[256, 0] == 0 "
        + "and bool((t[257, 1:] == 7).all())",
      folder.path + "/__0_0.distcp",
    ]
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }
}
