import DataPipeline
import Foundation
import Parallel
import Support
import Synchronization
import Testing

@testable import Launcher

/// Ranks that prepare their data together, as threads of this process.
@Suite struct SharedDataTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// One token per byte; `worse…` cannot be encoded.
  private static func encoding(_ calls: CallCount = CallCount()) -> RowEncoding {
    { (row) throws(Fault) in
      calls.add()
      let text = row.messages.map(\.content).joined(separator: " ")
      guard !text.hasPrefix("worse") else { throw Fault(.badRow, "cannot be encoded") }
      let ids = text.utf8.map { Int32($0) }
      return EncodedRow(inputIDs: ids, labels: ids, channel: text.hasSuffix("3") ? "three" : nil)
    }
  }

  private final class CallCount: Sendable {
    private let count = Mutex(0)
    func add() { count.withLock { $0 += 1 } }
    func take() -> Int {
      count.withLock { count in
        let taken = count
        count = 0
        return taken
      }
    }
  }

  /// Rows `a0`, `a1`, …; those of `bad` cannot be encoded, those of `worst` not even be read.
  private func rows(_ count: Int, bad: Set<Int> = [], worst: Set<Int> = []) throws -> String {
    let lines = (0..<count).map { i in
      worst.contains(i)
        ? #"{"query": {"a": 1}, "response": "r"}"#
        : #"{"query": "\#(bad.contains(i) ? "worse" : "a")\#(i)", "response": "r\#(i)"}"#
    }
    try folder.write("rows.jsonl", lines.joined(separator: "\n") + "\n")
    return folder.path + "/rows.jsonl"
  }

  private static func options(_ file: String) -> DataOptions {
    var options = DataOptions()
    options.sources.train = [file]
    options.order.seed = 7
    return options
  }

  private static func documents(_ data: PreparedData) throws -> [EncodedRow] {
    guard case .indexed(let samples) = data.train else { return [] }
    return try (0..<samples.count).flatMap { try samples.documents($0) }
  }

  @Test("Each row is encoded by one rank, and all ranks have the rows of one process")
  func encoding() throws {
    let options = Self.options(try rows(50, bad: [4, 31]))
    let alone = try DatasetPlan.prepare(options: options, encode: Self.encoding())
    let calls = CallCount()
    let shared = try ThreadWorld.run(ranks: 3) { world in
      try DatasetPlan.prepare(
        options: options, encode: Self.encoding(calls),
        peers: CommunicatorPeers(group: world, leadsNode: false))
    }
    #expect(calls.take() == 50)
    for data in shared {
      #expect(try Self.documents(data) == Self.documents(alone))
      #expect(data.report == alone.report)
    }
    #expect(alone.report.files[0].dropped == 2)
  }

  @Test("Blocks that one rank finds in its cache are not encoded again by the others")
  func caches() throws {
    let base = folder.path
    let options = Self.options(try rows(1_500))
    func prepare(_ calls: CallCount, cached: Bool) throws -> [[EncodedRow]] {
      try ThreadWorld.run(ranks: 2) { world in
        var options = options
        // Each rank as on a node of its own.
        options.encoding.cacheFolder = cached ? base + "/cache\(world.rank)" : nil
        options.encoding.fingerprint = "t"
        let data = try DatasetPlan.prepare(
          options: options, encode: Self.encoding(calls),
          peers: CommunicatorPeers(group: world, leadsNode: true))
        return try Self.documents(data)
      }
    }
    let calls = CallCount()
    let plain = try prepare(calls, cached: false)
    #expect(calls.take() == 1_500)
    #expect(try prepare(calls, cached: true) == plain)
    #expect(calls.take() == 1_500)
    let lost = try FileManager.default.contentsOfDirectory(atPath: base + "/cache1")
    #expect(lost.count == 2)
    for name in lost { try FileManager.default.removeItem(atPath: base + "/cache1/\(name)") }
    #expect(try prepare(calls, cached: true) == plain)
    #expect(calls.take() == 0)
    #expect(try FileManager.default.contentsOfDirectory(atPath: base + "/cache1").count == 2)
  }

  @Test(
    "With --strict every rank names the first bad row of the file, whatever is wrong with others",
    arguments: [([8, 30], [20], 9), ([30], [20], 21), ([5], [], 6)])
  func strict(bad: [Int], worst: [Int], line: Int) throws {
    var options = Self.options(try rows(40, bad: Set(bad), worst: Set(worst)))
    options.rows.strict = true
    options.order.splitRatio = 0.5
    let strict = options
    for ranks in [1, 3] {
      let outcomes = try ThreadWorld.outcomes(ranks: ranks) { world in
        _ = try DatasetPlan.prepare(
          options: strict, encode: Self.encoding(),
          peers: CommunicatorPeers(group: world, leadsNode: false))
      }
      #expect(outcomes.count == ranks)
      for outcome in outcomes {
        guard case .failure(let error) = outcome, let fault = error as? Fault else {
          Issue.record("a bad row was taken")
          continue
        }
        #expect(fault.description.contains("rows.jsonl:\(line)"), "\(fault)")
      }
    }
  }

  @Test("Ranks that read other rows are told so instead of training on both")
  func otherRows() throws {
    try folder.write("other.jsonl", #"{"query": "b", "response": "r"}"# + "\n")
    let files = [try rows(1), folder.path + "/other.jsonl"]
    let outcomes = try ThreadWorld.outcomes(ranks: 2) { world in
      _ = try DatasetPlan.prepare(
        options: Self.options(files[world.rank]), encode: Self.encoding(),
        peers: CommunicatorPeers(group: world, leadsNode: false))
    }
    for outcome in outcomes {
      guard case .failure(let error) = outcome else { continue }
      #expect((error as? Fault)?.code == .differentRows)
    }
    #expect(outcomes.allSatisfy { if case .failure = $0 { true } else { false } })
  }

  private static func plan(_ workers: Int) -> BatchPlan {
    var plan = BatchPlan()
    plan.microBatchSize = 2
    plan.globalBatchSize = 4
    plan.maxEpochs = 2
    plan.workers = workers
    return plan
  }

  private static func drain(_ source: BatchSource) throws -> [PackedBatch] {
    var batches: [PackedBatch] = []
    while let batch = try source.next() { batches.append(batch) }
    return batches
  }

  @Test(
    "Peers of one dp index take the same batches, each made by one of them",
    arguments: [0, 2], [false, true])
  func batches(workers: Int, streaming: Bool) throws {
    var options = Self.options(try rows(13))
    options.encoding.lazy = !streaming
    options.encoding.streaming = streaming
    let fixed = options
    let alone = try Self.drain(
      try BatchSource(
        try DatasetPlan.prepare(options: options, encode: Self.encoding()).train,
        plan: Self.plan(0)))
    let calls = CallCount()
    let states = try ThreadWorld.run(ranks: 3) { world in
      let peers = CommunicatorPeers(group: world, leadsNode: false)
      let data = try DatasetPlan.prepare(
        options: fixed, encode: Self.encoding(calls), peers: peers)
      try world.barrier()
      if world.rank == 0 { _ = calls.take() }
      try world.barrier()
      let source = try BatchSource(data.train, plan: Self.plan(workers), peers: peers)
      let batches = try Self.drain(source)
      #expect(batches.map(\.inputIDs) == alone.map(\.inputIDs))
      #expect(batches.map(\.labels) == alone.map(\.labels))
      #expect(batches.map(\.positions) == alone.map(\.positions))
      #expect(batches.map(\.cuSeqlens) == alone.map(\.cuSeqlens))
      #expect(batches.map(\.channels) == alone.map(\.channels))
      return source.state
    }
    #expect(alone.count == 12)
    #expect(states.allSatisfy { ($0.consumed, $0.epoch) == (states[0].consumed, states[0].epoch) })
    // A stream reads each row once an epoch; of 13 rows 12 make whole steps.
    #expect(calls.take() == (streaming ? 26 : 24))
  }

  @Test("A fault of the rank that makes a batch is the fault of all its peers")
  func faultOfOne() throws {
    var options = Self.options(try rows(3, bad: [1]))
    options.encoding.lazy = true
    options.rows.strict = true
    options.order.shuffle = false
    let fixed = options
    let outcomes = try ThreadWorld.outcomes(ranks: 2) { world in
      let peers = CommunicatorPeers(group: world, leadsNode: false)
      let data = try DatasetPlan.prepare(options: fixed, encode: Self.encoding(), peers: peers)
      var plan = Self.plan(0)
      plan.kind = .single
      plan.microBatchSize = 1
      plan.globalBatchSize = 1
      let source = try BatchSource(data.train, plan: plan, peers: peers)
      _ = try source.next()
      _ = try source.next()
    }
    for outcome in outcomes {
      guard case .failure(let error) = outcome, let fault = error as? Fault else {
        Issue.record("a rank went on")
        continue
      }
      #expect(fault.code == .badRow && fault.description.contains("rows.jsonl:2"), "\(fault)")
    }
  }
}
