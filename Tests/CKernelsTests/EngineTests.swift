import CKernels
import Foundation
import Testing

/// CPUs the calling thread may run on, as Linux writes them; nil elsewhere.
private func allowedCPUs() -> Substring? {
  let status = try? String(contentsOfFile: "/proc/thread-self/status", encoding: .utf8)
  return status?.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") }
}

@Suite struct EngineTests {
  @Test("the portable level exists everywhere and absent levels are refused")
  func levels() {
    #expect(ck_level_available(CK_PORTABLE) == 1)
    for level in [CK_AMX, CK_SVE] {
      #expect(ck_level_available(level) == 0)
      #expect(ck_engine_create(1, 0, Int32(bitPattern: level.rawValue)) == nil)
    }
    #expect(ck_engine_create(0, 0, -1) == nil)
  }

  @Test("a range is visited once, in pieces no longer than the grain")
  func ranges() {
    final class Visits {
      var counts: UnsafeMutablePointer<Int32>
      init(_ n: Int) {
        counts = .allocate(capacity: n)
        counts.initialize(repeating: 0, count: n)
      }
      deinit { counts.deallocate() }
    }
    for engine in Engine.all(threads: [1, 2, 5]) where engine.level == CK_PORTABLE {
      for n in [0, 1, 7, 100, 1000] {
        let visits = Visits(n + 1)
        for _ in 0..<20 {
          ck_parallel(
            engine.handle, n, 7,
            { context, begin, end in
              guard let context else { return }
              let v = Unmanaged<Visits>.fromOpaque(context).takeUnretainedValue()
              // A piece that is too long is counted twice, so that the check below sees it.
              for i in begin..<end { v.counts[i] += end - begin > 7 ? 2 : 1 }
            }, Unmanaged.passUnretained(visits).toOpaque())
        }
        #expect((0..<n).allSatisfy { visits.counts[$0] == 20 }, "\(engine.name) n \(n)")
        #expect(visits.counts[n] == 0)
      }
    }
  }

  @Test("an engine pins its workers and leaves the caller all its CPUs")
  func pinning() {
    let before = allowedCPUs()
    let engine = ck_engine_create(2, 1, Int32(bitPattern: CK_PORTABLE.rawValue))
    #expect(engine != nil)
    #expect(allowedCPUs() == before)
    let x = Buffer(CK_F32, 300_000)
    ck_fill(engine, x.count, 2, x.floats)
    #expect((0..<x.count).allSatisfy { x.floats[$0] == 2 })
    ck_engine_destroy(engine)
  }
}
