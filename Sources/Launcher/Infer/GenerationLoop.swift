import Model
import Parallel
import Support
import Tensor

/// Generates for many sequences at once: every step is one forward pass over the next tokens of all
/// that run. Sequences come and go between steps; prompts are taken in pieces beside the others'
/// tokens. What a sequence gives does not depend on what runs beside it, bit for bit.
///
/// With a model over several ranks every rank runs a loop of its own and makes the same calls.
/// Not Sendable by design: belongs to the thread that drives the rank.
final class GenerationLoop {
  let model: QwenModel
  let setting: GenerationSetting
  /// Bytes of a token, for stop words.
  let tokenBytes: @Sendable (Int32) -> [UInt8]
  /// Sequences that run at a time.
  let maxBatch: Int
  /// Rows of one pass: a long prompt is cut so that running answers do not wait for all of it.
  let maxRows: Int
  private var waiting: [GenerationJob] = []
  private var running: [GeneratedSequence] = []
  private var prefixes: PrefixStore
  /// Prompt tokens that were not computed because they were kept.
  private(set) var reusedTokens = 0

  /// - Parameter model: prepared for generation.
  init(
    model: QwenModel, setting: GenerationSetting, maxBatch: Int, maxRows: Int = 512,
    prefixBytes: Int = 1 << 30, tokenBytes: @escaping @Sendable (Int32) -> [UInt8]
  ) {
    self.model = model
    self.setting = setting
    self.tokenBytes = tokenBytes
    self.maxBatch = maxBatch < 1 ? .max : maxBatch
    self.maxRows = max(1, maxRows)
    prefixes = PrefixStore(capacity: prefixBytes)
  }

  var isIdle: Bool { waiting.isEmpty && running.isEmpty }

  func submit(_ job: GenerationJob) { waiting.append(job) }

  /// Ends a job; its last event comes with the next step.
  func cancel(_ id: Int) {
    for sequence in running where sequence.job.id == id { sequence.finish = .cancelled }
    if let place = waiting.firstIndex(where: { $0.id == id }) {
      let sequence = GeneratedSequence(
        waiting.remove(at: place), cache: model.text.newCache(), tokenBytes)
      sequence.finish = .cancelled
      running.append(sequence)
    }
  }

  /// One forward pass.
  /// - Returns: what it gave, in the order of the jobs.
  /// - Throws: `MEM-001`, `COMM-001`; the loop is unusable afterwards.
  func step() throws(Fault) -> [GenerationEvent] {
    var events = retire()
    admit()
    let turns = plan()
    guard !turns.isEmpty else { return events }
    var ids: [Int32] = []
    var positions: [Int32] = []
    var wanted: [Int32] = []
    for (sequence, rows) in turns {
      let start = sequence.cache.count
      ids += sequence.tokens[start..<start + rows]
      positions += (start..<start + rows).map { Int32($0) }
      if start + rows == sequence.tokens.count { wanted.append(Int32(ids.count - 1)) }
    }
    let logits = try model.nextLogits(
      GenerationInput(
        ids: ids, positions: positions, axes: axes(turns),
        vision: try VisionInput(
          turns.compactMap { $0.sequence.cache.count == 0 ? $0.sequence.job.media : nil },
          on: setting.engine),
        sequences: CachedRows(turns.map { .init(cache: $0.sequence.cache, rows: $0.rows) }),
        wanted: wanted), setting)
    var row = 0
    for (sequence, _) in turns where sequence.cache.count == sequence.tokens.count {
      events.append(sequence.take(Self.row(row, of: logits)))
      row += 1
    }
    return events + retire()
  }

  /// nil while no sequence has pictures: all axes are alike then.
  private func axes(_ turns: [(sequence: GeneratedSequence, rows: Int)]) -> AxisPositions? {
    guard turns.contains(where: { $0.sequence.job.media != nil }) else { return nil }
    var all = AxisPositions(text: [])
    for (sequence, rows) in turns {
      sequence.append(sequence.cache.count..<sequence.cache.count + rows, to: &all)
    }
    return all
  }

  private static func row(_ i: Int, of logits: Tensor) -> UnsafeMutableBufferPointer<Float> {
    UnsafeMutableBufferPointer(
      rebasing: logits.floats[i * logits.rowSize..<(i + 1) * logits.rowSize])
  }

  private func admit() {
    while running.count < maxBatch, !waiting.isEmpty {
      let job = waiting.removeFirst()
      // The last token is always computed: its logits are wanted.
      // Equal placeholders may stand for other pictures.
      let kept =
        job.media == nil ? prefixes.take(job.prompt, limit: job.prompt.count - 1) : nil
      reusedTokens += kept?.count ?? 0
      running.append(GeneratedSequence(job, cache: kept ?? model.text.newCache(), tokenBytes))
    }
  }

  /// Rows of this pass: one of each sequence that generates, then prompts in their order.
  private func plan() -> [(sequence: GeneratedSequence, rows: Int)] {
    var room = maxRows - running.count { $0.pending == 1 }
    return running.compactMap { sequence in
      if sequence.pending == 1 { return (sequence, 1) }
      // The tower gives all pictures of a prompt at once, so such a prompt is taken whole.
      let rows = sequence.job.media == nil ? min(sequence.pending, max(room, 0)) : sequence.pending
      room -= rows
      return rows > 0 ? (sequence, rows) : nil
    }
  }

  /// Takes finished sequences out and keeps what they computed.
  private func retire() -> [GenerationEvent] {
    var events: [GenerationEvent] = []
    running.removeAll { sequence in
      guard let finish = sequence.finish else { return false }
      if sequence.job.media == nil { prefixes.put(sequence.tokens, sequence.cache) }
      events.append(GenerationEvent(job: sequence.job.id, finish: finish))
      return true
    }
    return events
  }
}

/// One answer on its way.
private final class GeneratedSequence {
  let job: GenerationJob
  let cache: KeyValueCache
  private(set) var tokens: [Int32]
  var finish: FinishReason?
  private let sampler: Sampler
  private var seen: Set<Int32> = []
  private var stops: StopWatch

  init(
    _ job: GenerationJob, cache: KeyValueCache, _ tokenBytes: @escaping @Sendable (Int32) -> [UInt8]
  ) {
    self.job = job
    self.cache = cache
    tokens = job.prompt
    sampler = Sampler(job.rule)
    stops = StopWatch(job.stopWords, tokenBytes)
    if job.rule.repetitionPenalty != 1 { seen = Set(job.prompt) }
    if job.maxNewTokens < 1 { finish = .length }
  }

  /// Tokens whose keys and values are not kept yet; 1 while generating.
  var pending: Int { finish == nil ? tokens.count - cache.count : 0 }

  /// Places of tokens on three axes.
  func append(_ range: Range<Int>, to axes: inout AxisPositions) {
    let media = job.media
    for i in range {
      if let media, i < media.time.count {
        axes.time.append(media.time[i])
        axes.height.append(media.height[i])
        axes.width.append(media.width[i])
      } else {
        let p = Int32(i) + (media?.delta ?? 0)
        axes.time.append(p)
        axes.height.append(p)
        axes.width.append(p)
      }
    }
  }

  /// Chooses the next token from the logits of its row, which are changed.
  func take(_ logits: UnsafeMutableBufferPointer<Float>) -> GenerationEvent {
    let wants = job.wantsProbabilities || job.likeliest > 0
    // Before anything changes them.
    let plain = wants ? Array(logits) : []
    for id in job.suppressed where Int(id) < logits.count && id >= 0 {
      logits[Int(id)] = -.infinity
    }
    let step = tokens.count - job.prompt.count
    let token = sampler.next(logits, seen: seen, step: step)
    var probability: TokenProbability?
    var likeliest: [TokenProbability] = []
    if wants {
      for i in plain.indices { logits[i] = plain[i] }
      let all = LogProbabilities(logits)
      probability = all[token]
      likeliest = all.likeliest(job.likeliest)
    }
    var event = GenerationEvent(job: job.id)
    if job.stopIDs.contains(token) {
      finish = .stop
      return event
    }
    event.token = GeneratedToken(
      token: token, probability: probability, likeliest: likeliest)
    tokens.append(token)
    if job.rule.repetitionPenalty != 1 { seen.insert(token) }
    if stops.sees(token) {
      finish = .stop
    } else if step + 1 >= job.maxNewTokens {
      finish = .length
    }
    return event
  }
}

/// Looks for texts that end an answer, in text that comes token by token.
struct StopWatch {
  private let words: [[UInt8]]
  private let longest: Int
  private let tokenBytes: @Sendable (Int32) -> [UInt8]
  private var tail: [UInt8] = []

  init(_ words: [String], _ tokenBytes: @escaping @Sendable (Int32) -> [UInt8]) {
    self.words = words.map { Array($0.utf8) }.filter { !$0.isEmpty }
    longest = self.words.map(\.count).max() ?? 0
    self.tokenBytes = tokenBytes
  }

  mutating func sees(_ token: Int32) -> Bool {
    guard longest > 0 else { return false }
    let fresh = tokenBytes(token)
    tail += fresh
    tail.removeFirst(max(0, tail.count - longest - fresh.count))
    return words.contains { word in
      guard word.count <= tail.count else { return false }
      return (0...tail.count - word.count).contains {
        tail[$0..<$0 + word.count].elementsEqual(word)
      }
    }
  }
}
