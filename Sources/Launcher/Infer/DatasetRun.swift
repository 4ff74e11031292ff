import DataPipeline
import Foundation
import Parallel
import Support

/// Answers to the validation rows: side by side, or one at a time while the text is shown.
struct DatasetRun {
  let loaded: LoadedModel
  let rows: [StandardRow]
  let config: RequestConfig
  let maxBatch: Int
  /// Answers between writes; 0 or less writes once.
  let writeBatch: Int
  let isStrict: Bool
  let logger: Logger
  /// Of the first rank.
  let results: ResultFile?
  var print: (String) -> Void = { Terminal.write($0, to: .output) }

  /// What came of the rows.
  struct Totals: Sendable, Equatable, Codable {
    var promptTokens = 0
    var generatedTokens = 0
    var samples = 0
    /// Rows that could not be asked.
    var dropped = 0
    /// Answers equal to their labels, white space at the ends aside.
    var matches = 0
  }

  struct Outcome {
    var totals = Totals()
    var wasStopped = false
    var seconds = 0.0
  }

  private var speaks: Bool { loaded.groups.isFirst }

  /// - Parameter stream: one row at a time, shown as the text is made.
  /// - Throws: with `isStrict` the first row that cannot be asked; what the model throws.
  func run(stream: Bool) throws(Fault) -> Outcome {
    let start = Clock.monotonicSeconds()
    let done = try agreedStart()
    if done > 0 { logger.info("\(done) rows have answers in the result file already") }
    let open = Array(rows.dropFirst(done))
    let (index, count) = loaded.replicas
    let shard = Array(open[open.count * index / count..<open.count * (index + 1) / count])
    var work = ShardWork(
      owner: self, rows: shard, loop: loaded.loop(maxBatch: stream ? 1 : maxBatch), stream: stream,
      writesEarly: count == 1)
    try work.run()
    var outcome = Outcome(totals: work.totals, wasStopped: work.wasStopped)
    if count > 1 { try gather(work.lines, &outcome) }
    outcome.seconds = Clock.monotonicSeconds() - start
    return outcome
  }

  /// The first rank knows the file.
  private func agreedStart() throws(Fault) -> Int {
    var own: [UInt8] = []
    var fault: Fault?
    if let results {
      do throws(Fault) {
        own = Array(String(try results.answeredRows(rows)).utf8)
      } catch {
        fault = error
      }
    }
    try loaded.groups.world.agree(fault)
    let bytes = try loaded.groups.world.broadcast(bytes: own)
    return Int(String(decoding: bytes, as: UTF8.self)) ?? 0
  }

  /// The answers of all replicas in the order of the rows. Ranks of one replica have equal ones.
  private func gather(_ lines: [String], _ outcome: inout Outcome) throws(Fault) {
    let groups = loaded.groups
    let text = lines.map { $0 + "\n" }.joined()
    let isHead = groups.tp.rank == 0
    let all = try groups.world.gather(bytes: isHead ? Array(text.utf8) : [])
    var totals = Totals()
    let own = (try? JSONEncoder().encode(outcome.totals)).map { Array($0) } ?? []
    for bytes in try groups.world.gather(bytes: isHead ? own : []) where !bytes.isEmpty {
      guard let part = try? JSONDecoder().decode(Totals.self, from: Data(bytes)) else { continue }
      totals.promptTokens += part.promptTokens
      totals.generatedTokens += part.generatedTokens
      totals.samples += part.samples
      totals.dropped += part.dropped
      totals.matches += part.matches
    }
    outcome.totals = totals
    try results?.append(
      lines: all.flatMap { String(decoding: $0, as: UTF8.self).split(separator: "\n") }
        .map(String.init))
  }
}

/// The rows of one replica on their way.
private struct ShardWork {
  let owner: DatasetRun
  let rows: [StandardRow]
  let loop: GenerationLoop
  let stream: Bool
  /// The first rank writes answers while others are made.
  let writesEarly: Bool
  private(set) var totals = DatasetRun.Totals()
  private(set) var wasStopped = false
  /// Lines not written yet, in the order of the rows.
  private(set) var lines: [String] = []
  private var answers: [Int: Answer] = [:]
  private var finished: [Int: String?] = [:]
  private var next = 0

  init(
    owner: DatasetRun, rows: [StandardRow], loop: GenerationLoop, stream: Bool, writesEarly: Bool
  ) {
    self.owner = owner
    self.rows = rows
    self.loop = loop
    self.stream = stream
    self.writesEarly = writesEarly
  }

  private var speaks: Bool { owner.loaded.groups.isFirst }

  mutating func run() throws(Fault) {
    var asked = 0
    while next < rows.count {
      while asked < rows.count, asked < next + ahead {
        try ask(asked)
        asked += 1
      }
      try collect()
      guard next < rows.count else { break }
      if try isStopped() {
        wasStopped = true
        break
      }
      for event in loop.isIdle ? [] : try loop.step() { try handle(event) }
      try collect()
    }
    try write(all: true)
  }

  /// Rows that are asked before the first open one is answered.
  private var ahead: Int { stream ? 1 : max(64, min(loop.maxBatch, 1 << 20) * 4) }

  private mutating func ask(_ i: Int) throws(Fault) {
    do throws(Fault) {
      let job = try owner.loaded.prompts.job(id: i, rows[i], owner.config)
      totals.promptTokens += job.prompt.count
      answers[i] = Answer(owner.loaded.prompts)
      if stream { show(question: rows[i]) }
      loop.submit(job)
    } catch {
      let source = rows[i].source
      if owner.isStrict { throw error }
      owner.logger.warning("\(source.file):\(source.line): left out: \(error.message)")
      totals.dropped += 1
      finished[i] = .some(nil)
    }
  }

  private func show(question row: StandardRow) {
    guard speaks else { return }
    let query = row.messages.last { $0.role == "user" }?.content ?? ""
    owner.print("[QUERY] \(query)\n")
    if row.messages.last?.role == "assistant", let labels = row.messages.last?.content {
      owner.print("[LABELS] \(labels)\n")
    }
    owner.print("[RESPONSE] ")
  }

  private var words = WordwiseText()

  private mutating func handle(_ event: GenerationEvent) throws(Fault) {
    guard let fresh = answers[event.job]?.add(event) else { return }
    if stream, speaks { owner.print(words.add(fresh)) }
    guard event.finish != nil, let answer = answers.removeValue(forKey: event.job) else { return }
    if stream, speaks {
      owner.print(words.finish() + "\n" + String(repeating: "-", count: 50) + "\n")
    }
    totals.samples += 1
    totals.generatedTokens += answer.tokenCount
    let record = ResultRecord(
      rows[event.job], response: answer.text,
      logprobs: owner.config.logprobs ? answer.logprobs : nil)
    if record.labels?.trimmed == answer.text.trimmed { totals.matches += 1 }
    finished[event.job] = record.line
  }

  private mutating func collect() throws(Fault) {
    while let line = finished.removeValue(forKey: next) {
      if let line { lines.append(line) }
      next += 1
      let step = max(1, rows.count / 20)
      if !stream, next % step == 0 || next == rows.count {
        owner.logger.info("\(next) of \(rows.count) rows answered")
      }
    }
    try write(all: false)
  }

  private mutating func write(all: Bool) throws(Fault) {
    guard writesEarly else { return }
    let isDue = owner.writeBatch > 0 && lines.count >= owner.writeBatch
    guard all || isDue || stream else { return }
    try owner.results?.append(lines: lines)
    lines = []
  }

  /// A signal on one rank ends the run on all of them after this step.
  private func isStopped() throws(Fault) -> Bool {
    var flag = [Int64(SignalFlags.current.contains(.stop) ? 1 : 0)]
    let groups = owner.loaded.groups
    guard groups.world.size > 1 else { return flag[0] == 1 }
    // Replicas are at different steps: only ranks of one model ask each other.
    let peers = owner.loaded.replicas.count > 1 ? groups.tp : groups.world
    try flag.withUnsafeMutableBufferPointer { (p) throws(Fault) in try peers.allReduceMax(p) }
    return flag[0] == 1
  }
}
