import Foundation
import Synchronization
import Testing

@testable import DataPipeline
@testable import Support

/// Streams that go on in the middle of their files.
@Suite struct StreamResumeTests {
  private let folder: Fixtures.Folder

  init() throws { folder = try Fixtures.Folder() }

  /// Files of every kind: with rows that cannot be used, columns that come late, and responses to
  /// draw from.
  private func files(_ random: inout RandomState) throws -> [String] {
    let lines = (0..<170).map { i -> String in
      switch random.integer(below: 12) {
      case 0: return #"{"query": {"a": 1}, "response": "bad\#(i)"}"#
      case 1: return #"{"query": "q\#(i)", "response": ["a\#(i)", "b\#(i)", "c\#(i)"]}"#
      case 2 where i > 150: return #"{"query": "q\#(i)", "response": "s", "system": "S\#(i)"}"#
      case 3: return #"{"query": "worse\#(i)", "response": "r"}"#
      default: return #"{"query": "q\#(i)", "response": "r\#(i)"}"#
      }
    }
    let table = (0..<40).map { "\"t\($0),\nnext\",u\($0)" }
    let list = (0..<30).map { #"{"query": "l\#($0)", "response": "m\#($0)"}"# }
    return [
      try folder.write("a.jsonl", lines.joined(separator: "\n\n") + "\n"),
      try folder.write("b.csv", "query,response\n" + table.joined(separator: "\r\n") + "\r\n"),
      try folder.write("c.json", "[" + list.joined(separator: ",\n") + "]"),
      try folder.write("d.txt", (0..<25).map { "line \($0)" }.joined(separator: "\n")),
    ]
  }

  private struct Setup {
    var options = DataOptions()
    var plan = BatchPlan()

    init(_ files: [String], _ random: inout RandomState) {
      func coin() -> Bool { random.integer(below: 2) == 0 }
      options.sources.train = files
      if coin() { options.sources.train[0] += "#97" }
      options.encoding.streaming = true
      options.order.shuffle = coin()
      options.order.seed = random.integer(below: 1000)
      options.encoding.shuffleBufferSize = [1, 7, 60, 1000][random.integer(below: 4)]
      if coin() {
        options.order.interleave = [0.4, 0.3, 0.2, 0.1]
        options.order.stopping = coin() ? .allExhausted : .firstExhausted
      }
      options.encoding.packing = coin()
      options.encoding.maxLength = 30
      plan.microBatchSize = 1 + random.integer(below: 2)
      plan.dataParallelSize = 1 + random.integer(below: 2)
      plan.globalBatchSize =
        plan.microBatchSize * plan.dataParallelSize * (1 + random.integer(below: 2))
      plan.maxEpochs = 2
      plan.workers = random.integer(below: 2)
    }
  }

  private static func prepare(
    _ options: DataOptions, encoded: @escaping @Sendable () -> Void = {}
  ) throws -> PreparedData {
    try DatasetPlan.prepare(options: options) { (row) throws(Fault) in
      encoded()
      guard row.messages.allSatisfy({ !$0.content.hasPrefix("worse") }) else {
        throw Fault(.badRow, "cannot be encoded")
      }
      return try Fixtures.encode(row)
    }
  }

  private static func drain(_ source: BatchSource) throws -> [[Int32]] {
    var batches: [[Int32]] = []
    while let batch = try source.next() { batches.append(batch.inputIDs) }
    return batches
  }

  @Test("A stream that goes on from any place gives what it would have given", arguments: 0..<24)
  func anywhere(seed: Int) throws {
    var random = RandomState(seed: seed)
    let setup = Setup(try files(&random), &random)
    let whole = try Self.drain(
      try BatchSource(try Self.prepare(setup.options).train, plan: setup.plan))
    try #require(whole.count > 1)
    let source = try BatchSource(try Self.prepare(setup.options).train, plan: setup.plan)
    let taken = 1 + random.integer(below: whole.count - 1)
    for _ in 0..<taken { _ = try source.next() }
    // As a checkpoint keeps it.
    let text = source.state.json.write()
    let state = try SamplerState(json: try JSONValue.parse(text))
    #expect(state == source.state && state.stream != nil)
    let rest = try Self.drain(
      try BatchSource(try Self.prepare(setup.options).train, plan: setup.plan, from: state))
    #expect(rest == Array(whole[taken...]), "seed \(seed): \(setup), \(taken) batches taken")
  }

  @Test("What was used is not read again") func seeks() throws {
    let file = try Fixtures.numbered(4_000, "a", in: folder)
    var options = Fixtures.options(file)
    options.encoding.streaming = true
    options.order.shuffle = true
    options.encoding.shuffleBufferSize = 20
    var plan = BatchPlan()
    plan.maxEpochs = 1
    plan.workers = 0
    let source = try BatchSource(try Self.prepare(options).train, plan: plan)
    for _ in 0..<3_700 { _ = try source.next() }
    let calls = Mutex(0)
    let data = try Self.prepare(options) { calls.withLock { $0 += 1 } }
    let rest = try Self.drain(try BatchSource(data.train, plan: plan, from: source.state))
    #expect(rest.count == 300)
    // The rows of a round, and those behind it.
    #expect(calls.withLock { $0 } < 300 + 128)
    #expect(data.report.files[0].read < 600)
  }

  @Test("A stream goes on with rows that were added behind, not with files that lost some")
  func changedFiles() throws {
    let file = try Fixtures.numbered(300, "a", in: folder)
    var options = Fixtures.options(file)
    options.encoding.streaming = true
    var plan = BatchPlan()
    plan.maxEpochs = 1
    plan.workers = 0
    let source = try BatchSource(try Self.prepare(options).train, plan: plan)
    for _ in 0..<200 { _ = try source.next() }
    _ = try Fixtures.numbered(310, "a", in: folder)
    let more = try BatchSource(
      try Self.prepare(options).train, plan: plan, from: source.state)
    #expect(try Self.drain(more).count == 110)
    _ = try Fixtures.numbered(250, "a", in: folder)
    let fewer = try BatchSource(
      try Self.prepare(options).train, plan: plan, from: source.state)
    let fault = #expect(throws: Fault.self) { try fewer.next() }
    #expect(fault?.code == .badResume)
  }
}
