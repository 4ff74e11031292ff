import Foundation
import Synchronization
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct Loading {
  private let folder = try? Fixtures.Folder()

  private func prepare(
    _ rows: Int, _ change: (inout DataOptions) -> Void = { _ in }
  ) throws -> PreparedData {
    var options = Fixtures.options(try Fixtures.numbered(rows, "a", in: try #require(folder)))
    change(&options)
    return try DatasetPlan.prepare(options: options, encode: Fixtures.encode)
  }

  private func plan(_ change: (inout BatchPlan) -> Void = { _ in }) -> BatchPlan {
    var plan = BatchPlan()
    plan.maxEpochs = 1
    plan.workers = 0
    change(&plan)
    return plan
  }

  private func drain(_ source: BatchSource, most: Int = .max) throws -> [[Int32]] {
    var batches: [[Int32]] = []
    while batches.count < most, let batch = try source.next() { batches.append(batch.inputIDs) }
    return batches
  }

  @Test("Batches are the same for any number of threads", arguments: [1, 3])
  func workers(count: Int) throws {
    let data = try prepare(40) {
      $0.encoding.packing = true
      $0.encoding.maxLength = 30
      $0.rows.threads = count
    }
    func run(_ workers: Int) throws -> [[Int32]] {
      let source = try BatchSource(
        data.train,
        plan: plan {
          $0.workers = workers
          $0.prefetch = 2
          $0.microBatchSize = 2
          $0.globalBatchSize = 4
          $0.maxEpochs = 3
        })
      return try drain(source)
    }
    let inline = try run(0)
    #expect(inline.count > 10)
    #expect(try run(count) == inline)
    let single = try prepare(40) {
      $0.encoding.packing = true
      $0.encoding.maxLength = 30
    }
    guard case .indexed(let one) = single.train, case .indexed(let other) = data.train else {
      return
    }
    for i in 0..<one.count { #expect(try one.documents(i) == other.documents(i)) }
  }

  @Test("After the end every further call gives nil again")
  func end() throws {
    let source = try BatchSource(try prepare(5).train, plan: plan { $0.workers = 2 })
    #expect(try drain(source).count == 5)
    #expect(try source.next() == nil)
    #expect(try source.next() == nil)
  }

  @Test("A source that continues from a state gives what the first would have given")
  func resume() throws {
    for streaming in [false, true] {
      let data = try prepare(11) {
        $0.encoding.streaming = streaming
        $0.order.shuffle = streaming
      }
      let plan = plan {
        $0.dataParallelSize = 2
        $0.dataParallelRank = 1
        $0.globalBatchSize = 4
        $0.maxEpochs = 3
        $0.workers = 1
      }
      let whole = try drain(try BatchSource(data.train, plan: plan))
      let first = try BatchSource(data.train, plan: plan)
      let head = try drain(first, most: 7)
      let saved = try SamplerState(json: first.state.json)
      #expect(saved.consumed == 14)
      let tail = try drain(try BatchSource(data.train, plan: plan, from: saved))
      #expect(head + tail == whole)
      // Three epochs of 5 micro-batches, in complete steps of 2.
      #expect(whole.count == 14)
    }
  }

  @Test("A state of other data, or inside a micro-batch, is refused")
  func badState() throws {
    let data = try prepare(10)
    for state in [SamplerState(consumed: 0, rows: 11), SamplerState(consumed: 3, rows: 10)] {
      let fault = #expect(throws: Fault.self) {
        try BatchSource(
          data.train,
          plan: plan {
            $0.microBatchSize = 2
            $0.globalBatchSize = 2
          }, from: state)
      }
      #expect(fault?.code == .badResume)
    }
  }

  @Test("Ranks of a stream share its rows without overlap, in order")
  func streamRanks() throws {
    let data = try prepare(9) { $0.encoding.streaming = true }
    var seen: [[[Int32]]] = []
    for rank in 0..<2 {
      seen.append(
        try drain(
          try BatchSource(
            data.train,
            plan: plan {
              $0.dataParallelRank = rank
              $0.dataParallelSize = 2
              $0.globalBatchSize = 2
            })))
    }
    let one = try drain(try BatchSource(data.train, plan: plan()))
    #expect(zip(seen[0], seen[1]).flatMap { [$0, $1] } == Array(one.prefix(8)))
  }

  @Test("A stream too short for one step ends with a fault, not with a loop")
  func shortStream() throws {
    let data = try prepare(2) { $0.encoding.streaming = true }
    let source = try BatchSource(
      data.train,
      plan: plan {
        $0.microBatchSize = 3
        $0.globalBatchSize = 3
        $0.maxEpochs = nil
        $0.workers = 1
      })
    for _ in 0..<2 {
      let fault = #expect(throws: Fault.self) { try source.next() }
      #expect(fault?.code == .noRows)
    }
  }

  @Test("A lazy row that fails is replaced by the same other one on every rank")
  func lazy() throws {
    let file = try Fixtures.numbered(6, "a", in: try #require(folder))
    var options = Fixtures.options(file)
    options.encoding.lazy = true
    let data = try DatasetPlan.prepare(options: options) { row throws(Fault) in
      guard row.messages[0].content != "a3" else { throw Fault(.badRow, "cannot be read") }
      return try Fixtures.encode(row)
    }
    guard case .indexed(let samples) = data.train else { return }
    let found = try samples.documents(3)
    #expect(found == (try samples.documents(3)))
    #expect(try (0..<6).filter { try samples.documents($0) == found }.count == 2)
    #expect(data.report.files[0].replaced == 3)
    #expect(data.report.files[0].reasons.first == "line 4: cannot be read")
  }

  @Test("When no row can be encoded the fault says what to change")
  func lazyFails() throws {
    let fault = #expect(throws: Fault.self) {
      try prepare(3) {
        $0.encoding.lazy = true
        $0.encoding.maxLength = 1
      }
    }
    #expect(fault?.code == .fetchFailed && fault?.fix?.contains("--max_length") == true)
  }

  @Test("A cache is used for the same rows and settings only, and never when it is damaged")
  func cache() throws {
    let folder = try #require(folder)
    let file = try Fixtures.numbered(4, "a", in: folder)
    let calls = Mutex(0)
    func run(_ change: (inout DataOptions) -> Void = { _ in }) throws -> (Int, [EncodedRow]) {
      var options = Fixtures.options(file)
      options.encoding.cacheFolder = "\(folder.path)/cache"
      options.encoding.fingerprint = "t1"
      change(&options)
      calls.withLock { $0 = 0 }
      let data = try DatasetPlan.prepare(options: options) { row throws(Fault) in
        calls.withLock { $0 += 1 }
        return try Fixtures.encode(row)
      }
      guard case .indexed(let samples) = data.train else { return (-1, []) }
      return (calls.withLock { $0 }, try (0..<samples.count).flatMap { try samples.documents($0) })
    }
    let first = try run()
    let second = try run()
    #expect(first.0 == 4 && second.0 == 0 && first.1 == second.1)
    #expect(try run { $0.encoding.fingerprint = "t2" }.0 == 4)
    #expect(try run { $0.encoding.maxLength = 6 }.0 == 4)
    let entries = try FileManager.default.contentsOfDirectory(atPath: "\(folder.path)/cache")
    for entry in entries {
      let path = "\(folder.path)/cache/\(entry)"
      var bytes = [UInt8](try #require(FileManager.default.contents(atPath: path)))
      bytes[bytes.count - 40] ^= 1
      try Data(bytes).write(to: URL(fileURLWithPath: path))
    }
    #expect(try run().0 == 4)
    #expect(try run().0 == 0)
    _ = try folder.write("a.jsonl", #"{"query": "new", "response": "r"}"#)
    #expect(try run().0 == 1)
  }

  @Test("Split-off validation rows are written and read back as the same rows")
  func validationFile() throws {
    let folder = try #require(folder)
    var options = Fixtures.options("\(Fixtures.root)/data/sft/train_mix.jsonl")
    options.rows.acceptsMedia = true
    options.order.splitRatio = 0.3
    options.outputFolder = "\(folder.path)/out"
    let data = try DatasetPlan.prepare(options: options, encode: Fixtures.encode)
    #expect(data.train.count == 21 && data.validation?.count == 9)
    var again = Fixtures.options("\(folder.path)/out/val_dataset.jsonl")
    again.rows.acceptsMedia = true
    let written = try DatasetPlan.rows(options: again).train
    let expected = try DatasetPlan.rows(options: options).validation
    #expect(written.map { $0.json.write() } == expected.map { $0.json.write() })
  }

  @Test("A validation set forces the ratio to 0 and is in its own order")
  func validationSet() throws {
    let folder = try #require(folder)
    let other = try Fixtures.numbered(5, "b", in: folder)
    let data = try prepare(8) {
      $0.sources.validation = ["\(other)#3"]
      $0.order.splitRatio = 0.5
      $0.order.shuffle = true
      $0.stepBatch = 3
    }
    #expect(data.train.count == 8 && data.validation?.count == 3)
    #expect(data.report.notes == ["split_dataset_ratio is set to 0, because val_dataset is given"])
    let off = try prepare(8) {
      $0.sources.validation = [other]
      $0.stepBatch = 6
    }
    #expect(off.validation == nil)
    #expect(off.report.notes.first?.hasPrefix("validation is switched off") == true)
  }

  @Test("Options that exclude each other are refused")
  func options() {
    for change in [
      { (o: inout DataOptions) in
        o.encoding.packing = true
        o.encoding.maxLength = 5
        o.encoding.lazy = true
      },
      { o in
        o.encoding.streaming = true
        o.encoding.lazy = true
      },
      { o in o.encoding.packing = true },
      { o in o.sources.train = [] },
      { o in o.encoding.maxLength = 0 },
    ] {
      let fault = #expect(throws: Fault.self) { try prepare(3, change) }
      #expect(fault?.code == .badDataOptions)
    }
  }

  @Test("Lengths are told in the line users look for")
  func statistics() throws {
    let line = try #require(LengthStatistics([2, 4, 4, 6])?.line)
    #expect(
      line == "Dataset Token Length: 4.000000±1.414214, min=2.000000, max=6.000000, size=4")
    #expect(try prepare(3).statisticsLines.count == 1)
  }

  @Test("A fault that is not the row's stops preparation")
  func internalFault() throws {
    let options = Fixtures.options(try Fixtures.numbered(3, "a", in: try #require(folder)))
    let fault = #expect(throws: Fault.self) {
      try DatasetPlan.prepare(options: options) { _ throws(Fault) in
        throw Fault(.internalError, "broken")
      }
    }
    #expect(fault?.code == .internalError)
  }

  @Test("Streams mix by chance as lists do")
  func streamMix() throws {
    let folder = try #require(folder)
    let words = [
      try Fixtures.numbered(10, "a", in: folder), try Fixtures.numbered(6, "b", in: folder),
    ]
    var options = DataOptions()
    options.sources.train = words
    options.order.shuffle = false
    options.order.interleave = [0.7, 0.3]
    options.order.stopping = .allExhausted
    let listed = try drain(
      try BatchSource(
        try DatasetPlan.prepare(options: options, encode: Fixtures.encode).train,
        plan: plan { $0.kind = .single }))
    options.encoding.streaming = true
    let streamed = try drain(
      try BatchSource(
        try DatasetPlan.prepare(options: options, encode: Fixtures.encode).train, plan: plan()))
    #expect(streamed == listed && streamed.count == 19)
  }
}
