import Support

/// The conversation at the terminal: reads, answers while the text is made, reads again.
struct ChatEntry {
  let driver: LoopDriver
  let prompts: PromptBuilder
  let config: RequestConfig
  let logger: Logger
  let results: ResultFile
  var readLine: () -> String? = { Swift.readLine(strippingNewline: true) }
  var print: (String) -> Void = { Terminal.write($0, to: .output) }

  /// The life of the first rank.
  func run(system: String?) throws(Fault) {
    for line in ChatSession.help { logger.info(line) }
    InterruptFlag.install()
    var session = ChatSession(system: system, readsMedia: prompts.media != nil)
    var number = 0
    while true {
      print(session.prompt)
      switch session.take(readLine()) {
      case .read: continue
      case .leave:
        _ = try driver.turn([.close])
        return
      case .answer:
        number += 1
        try answer(&session, number)
      }
    }
  }

  private func answer(_ session: inout ChatSession, _ number: Int) throws(Fault) {
    let request = session.request
    let job: GenerationJob
    do throws(Fault) {
      job = try prompts.job(id: number, request.row, config)
    } catch {
      // A question that cannot be asked is no end of the conversation.
      print(error.description + "\n")
      session.takeBack()
      return
    }
    _ = InterruptFlag.take()
    var answer = Answer(prompts)
    var words = WordwiseText()
    var commands: [LoopCommand] = [.submit(job)]
    var isDone = false
    while !isDone {
      if InterruptFlag.take() { commands.append(.cancel(number)) }
      for event in try driver.turn(commands) where event.job == number {
        print(words.add(answer.add(event)))
        isDone = isDone || event.finish != nil
      }
      commands = []
    }
    print(words.finish() + "\n" + String(repeating: "-", count: 50) + "\n")
    session.answered(answer.text)
    try results.append(interactive: session.request, response: answer.text)
  }
}
