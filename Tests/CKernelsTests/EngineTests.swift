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

  @Test("each worker of a pinned engine is bound to one CPU of its own among those of the caller")
  func workerCPUs() throws {
    let allowed = try #require(AffinityRecord.ofThisThread())
    let threads = min(allowed.count, 4)
    for isPinned in [true, false] {
      let engine = ck_engine_create(
        Int32(threads), isPinned ? 1 : 0, Int32(bitPattern: CK_PORTABLE.rawValue))
      let record = AffinityRecord()
      record.fill(engine, workers: threads, pieces: 4 * threads)
      ck_engine_destroy(engine)
      var sets = record.sets
      try #require(sets.count == threads)
      #expect(sets.removeValue(forKey: pthread_self()) == allowed)
      for set in sets.values {
        #expect(isPinned ? set.count == 1 && allowed.isSuperset(of: set) : set == allowed)
      }
      if isPinned { #expect(Set(sets.values).count == threads - 1) }
    }
  }

  @Test("more threads than CPUs are not pinned")
  func tooManyThreads() throws {
    let allowed = try #require(AffinityRecord.ofThisThread())
    let engine = ck_engine_create(
      Int32(allowed.count + 1), 1, Int32(bitPattern: CK_PORTABLE.rawValue))
    let record = AffinityRecord()
    record.fill(engine, workers: 2, pieces: 4 * (allowed.count + 1))
    ck_engine_destroy(engine)
    #expect(record.sets.count >= 2)
    #expect(record.sets.values.allSatisfy { $0 == allowed })
  }

  @Test("zeros are set in every byte and none beyond")
  func zeros() {
    for engine in Engine.all(threads: [1, 3]) where engine.level == CK_PORTABLE {
      for count in [0, 1, 63, 4096, (5 << 20) + 3] {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count + 1, alignment: 1)
        defer { bytes.deallocate() }
        bytes.initializeMemory(as: UInt8.self, repeating: 7)
        ck_zero(engine.handle, count, bytes.baseAddress)
        #expect(bytes[..<count].allSatisfy { $0 == 0 }, "\(engine.name) \(count)")
        #expect(bytes[count] == 7)
      }
    }
  }
}

/// Which CPUs each thread may run on, noted by the threads themselves.
private final class AffinityRecord: @unchecked Sendable {
  private let lock = NSLock()
  private(set) var sets: [pthread_t: Set<Int>] = [:]

  /// The mask is words of 32 bits in hexadecimal, the highest first, with commas between.
  static func ofThisThread() -> Set<Int>? {
    guard let line = allowedCPUs(), let mask = line.split(separator: "\t").last else { return nil }
    var cpus: Set<Int> = []
    for (digit, character) in mask.reversed().filter({ $0 != "," }).enumerated() {
      guard let value = character.hexDigitValue else { return nil }
      for bit in 0..<4 where value >> bit & 1 == 1 { cpus.insert(4 * digit + bit) }
    }
    return cpus
  }

  func note() {
    guard let set = Self.ofThisThread() else { return }
    lock.withLock { sets[pthread_self()] = set }
  }

  /// Runs pieces until so many threads have had one: whoever is awake takes them.
  func fill(_ engine: OpaquePointer?, workers: Int, pieces: Int) {
    for _ in 0..<2000 where sets.count < workers {
      ck_parallel(
        engine, pieces, 1,
        { context, _, _ in
          guard let context else { return }
          Unmanaged<AffinityRecord>.fromOpaque(context).takeUnretainedValue().note()
          usleep(200)
        }, Unmanaged.passUnretained(self).toOpaque())
    }
  }
}
