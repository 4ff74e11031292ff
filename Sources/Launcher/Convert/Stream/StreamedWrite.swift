import Checkpoint
import Foundation
import Parallel
import Support
import Synchronization

/// Writes the files of a conversion: ranks, and threads of a rank, share them. Names and bytes do not
/// depend on how many there are.
struct StreamedWrite {
  let world: any Communicator
  /// Files of this rank that are written at a time.
  let threads: Int
  let staging: String
  /// Names source and settings; what an earlier write for the same left is gone on with.
  let purpose: String
  let logger: Logger
  /// Asked after each tensor: a signal, say.
  var isStopped: @Sendable () -> Bool = { false }

  /// The checksums of all files, in their order, the same on all ranks.
  /// - Throws: on all ranks what one of them throws; `RUN-103` after a signal, and the same call goes
  ///   on later.
  /// - Communication: one agreement, one gathering of texts.
  func run(_ files: [UnitFile]) throws(Fault) -> [[WrittenUnit]] {
    let mine = share(files.map(\.byteCount))
    let meter = ByteMeter(
      total: files.reduce(0) { $0 + $1.byteCount }, folder: world.size > 1 ? staging : nil,
      logger: logger, isStopped: isStopped)
    let own = try world.agreeing { () throws(Fault) in
      try write(mine.map { files[$0] }, meter)
    }
    meter.finish()
    var result = [[WrittenUnit]](repeating: [], count: files.count)
    let text = JSONValue.array(own.map(Self.json)).write()
    for (rank, text) in try world.allTexts(text).enumerated() {
      let lists = (try? JSONValue.parse(text))?.array ?? []
      for (file, list) in zip(share(files.map(\.byteCount), rank: rank), lists) {
        result[file] = Self.units(list)
      }
    }
    for (file, units) in zip(files, result) where units.count != file.units.count {
      throw Fault(.internalError, "a rank sent no report", at: .file(file.name))
    }
    return result
  }

  /// The files of a rank: largest first, each to the rank with the least.
  private func share(_ sizes: [Int], rank: Int? = nil) -> [Int] {
    var loads = [Int](repeating: 0, count: world.size)
    var mine: [Int] = []
    for file in sizes.indices.sorted(by: { (sizes[$1], $0) < (sizes[$0], $1) }) {
      let least = loads.indices.min { loads[$0] < loads[$1] } ?? 0
      loads[least] += sizes[file] + 1
      if least == rank ?? world.rank { mine.append(file) }
    }
    return mine
  }

  /// Each thread holds some blocks of memory; a few saturate any disk.
  private static let mostThreads = 8

  /// Each file is written by one thread, which is the only one to call its units.
  private struct Handed: @unchecked Sendable { let files: [UnitFile] }

  private func write(_ files: [UnitFile], _ meter: ByteMeter) throws(Fault) -> [[WrittenUnit]] {
    let handed = Handed(files: files)
    let (staging, purpose) = (staging, purpose)
    let state = Mutex<(next: Int, done: [[WrittenUnit]], fault: Fault?)>(
      (0, [[WrittenUnit]](repeating: [], count: files.count), nil))
    let work: @Sendable (Int) -> Void = { _ in
      while true {
        let index = state.withLock { state -> Int? in
          guard state.fault == nil, state.next < handed.files.count else { return nil }
          state.next += 1
          return state.next - 1
        }
        guard let index else { return }
        do throws(Fault) {
          let units = try handed.files[index].write(to: staging, purpose: purpose) {
            (bytes, isNew) throws(Fault) in
            if state.withLock({ $0.fault != nil }) { throw Self.stopped }
            try meter.add(bytes, isNew: isNew)
          }
          state.withLock { $0.done[index] = units }
        } catch {
          state.withLock { $0.fault = $0.fault ?? error }
        }
      }
    }
    let count = min(max(threads, 1), max(files.count, 1), Self.mostThreads)
    if count == 1 {
      work(0)
    } else {
      DispatchQueue.concurrentPerform(iterations: count, execute: work)
    }
    return try state.withLock { (state) throws(Fault) -> [[WrittenUnit]] in
      if let fault = state.fault { throw fault }
      return state.done
    }
  }

  static let stopped = Fault(
    .conversionStopped, "the conversion was stopped by a signal",
    fix: "run the same command again: it goes on where it was")

  private static func json(_ units: [WrittenUnit]) -> JSONValue {
    .array(units.flatMap { [JSONValue($0.length), JSONValue(Int($0.crc32c))] })
  }

  private static func units(_ value: JSONValue) -> [WrittenUnit] {
    let numbers = value.array?.compactMap(\.int) ?? []
    return stride(from: 0, to: numbers.count - 1, by: 2).compactMap { i in
      UInt32(exactly: numbers[i + 1]).map { WrittenUnit(length: numbers[i], crc32c: $0) }
    }
  }
}

extension Communicator {
  /// The sum of a count over all ranks.
  func total(_ count: Int) throws(Fault) -> Int {
    guard size > 1 else { return count }
    var sum = [Int64(count)]
    try sum.withUnsafeMutableBufferPointer { (p) throws(Fault) in try allReduceSum(p) }
    return Int(sum[0])
  }
}
