import Dispatch
import Support
import Synchronization

/// What the engine's thread tells the thread of a connection.
final class EventQueue: Sendable {
  typealias Item = (choice: Int, result: Result<GenerationEvent, Fault>)
  private let items = Mutex<[Item]>([])
  private let ready = DispatchSemaphore(value: 0)

  func put(_ item: Item) {
    items.withLock { $0.append(item) }
    ready.signal()
  }

  /// - Returns: nil when nothing came within `seconds`.
  func take(seconds: Double) -> Item? {
    guard ready.wait(timeout: .now() + seconds) == .success else { return nil }
    return items.withLock { $0.removeFirst() }
  }
}

/// One call of `/v1/chat/completions` on its way: `n` jobs, their texts, the answer.
struct CompletionCall {
  let service: GenerationService
  let prompts: PromptBuilder
  let call: ChatCompletion
  let text: CompletionText
  let writer: HTTPWriter
  let keepsAlive: Bool

  private struct Choice {
    let job: Int
    var answer: Answer
    var cut: StopCut
    var shown = ""
    var shownLogprobs = 0
    var finish: FinishReason?
  }

  /// Nothing more can be sent: the peer is gone.
  private struct PeerLeft: Error {}

  /// - Returns: whether the connection can go on.
  func run() -> Bool {
    let queue = EventQueue()
    var choices: [Choice] = []
    defer { for choice in choices where choice.finish == nil { service.cancel(choice.job) } }
    var usage = InferResponse.Usage()
    do throws(Fault) {
      let first = try prompts.job(id: 0, call.request.row, call.config)
      usage.promptTokens = first.prompt.count
      for i in 0..<call.config.n {
        var job = first
        job.rule.seed = first.rule.seed &+ UInt64(i)
        let id = try service.submit(job) { queue.put((i, $0)) }
        choices.append(Choice(job: id, answer: Answer(prompts), cut: StopCut(call.config.stop)))
      }
    } catch {
      return refuse(error)
    }
    do {
      if call.isStreamed {
        try stream(queue, &choices, &usage)
      } else {
        try whole(queue, &choices, &usage)
      }
      return keepsAlive
    } catch {
      return false
    }
  }

  private func refuse(_ fault: Fault) -> Bool {
    let status: Int
    switch fault.code {
    case .tooManyRequests: status = 429
    case .generationClosed: status = 503
    default: status = fault.code.exit == .badData ? 400 : 500
    }
    // Details of other faults are for the log of the server.
    let message = status == 500 ? "the request could not be answered" : fault.message
    return writer.send(
      status,
      CompletionText.error(
        message, type: status < 500 ? "invalid_request_error" : "server_error"),
      keepsAlive: keepsAlive, headers: status == 429 ? ["Retry-After: 1"] : []) && keepsAlive
  }

  /// Waits for events until all choices are finished; `each` sees every new text.
  private func collect(
    _ queue: EventQueue, _ choices: inout [Choice], _ usage: inout InferResponse.Usage,
    each: (Int, inout Choice, String) throws -> Void
  ) throws {
    while choices.contains(where: { $0.finish == nil }) {
      guard let (index, result) = queue.take(seconds: 0.5) else {
        if writer.socket.isGone { throw PeerLeft() }
        continue
      }
      guard choices[index].finish == nil else { continue }
      let event = try result.get()
      var fresh = choices[index].cut.add(choices[index].answer.add(event))
      if event.finish != nil { fresh += choices[index].cut.finish() }
      choices[index].shown += fresh
      choices[index].finish = event.finish
      if event.finish != nil { usage.completionTokens += choices[index].answer.tokenCount }
      try each(index, &choices[index], fresh)
    }
  }

  private func whole(
    _ queue: EventQueue, _ choices: inout [Choice], _ usage: inout InferResponse.Usage
  ) throws {
    do {
      try collect(queue, &choices, &usage) { _, _, _ in }
    } catch let fault as Fault {
      _ = refuse(fault)
      throw fault
    }
    let response = InferResponse(
      choices: choices.enumerated().map { index, choice in
        InferResponse.Choice(
          index: index, message: .init(role: "assistant", content: choice.shown),
          finishReason: choice.finish ?? .stop,
          logprobs: call.config.logprobs ? choice.answer.logprobs : nil)
      }, usage: usage)
    guard writer.send(200, text.whole(response), keepsAlive: keepsAlive) else { throw PeerLeft() }
  }

  private func stream(
    _ queue: EventQueue, _ choices: inout [Choice], _ usage: inout InferResponse.Usage
  ) throws {
    func send(_ json: JSONValue) throws {
      guard writer.event(json.write(.compact)) else { throw PeerLeft() }
    }
    guard writer.beginEvents(keepsAlive: keepsAlive) else { throw PeerLeft() }
    for index in choices.indices {
      try send(text.piece(index: index, text: "", isFirst: true, logprobs: nil, finish: nil))
    }
    do {
      try collect(queue, &choices, &usage) { index, choice, fresh in
        let logprobs = Array(choice.answer.logprobs[choice.shownLogprobs...])
        choice.shownLogprobs += logprobs.count
        guard !fresh.isEmpty || choice.finish != nil || !logprobs.isEmpty else { return }
        try send(
          text.piece(
            index: index, text: fresh, isFirst: false,
            logprobs: call.config.logprobs ? logprobs : nil, finish: choice.finish))
      }
    } catch let fault as Fault {
      try send(CompletionText.error("the answer could not be finished", type: "server_error"))
      throw fault
    }
    if call.includesUsage { try send(text.usagePiece(usage)) }
    guard writer.endEvents() else { throw PeerLeft() }
  }
}
