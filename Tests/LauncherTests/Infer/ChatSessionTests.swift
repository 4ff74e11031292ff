import Testing

@testable import Launcher

@Suite("Conversation at the terminal")
struct ChatSessionTests {
  private func roles(_ session: ChatSession) -> [String] {
    session.request.messages.map { "\($0.role): \($0.content)" }
  }

  @Test("Exit and quit leave in any case, and so does the end of the input")
  func leave() {
    for word in ["exit", " QUIT ", "Exit"] {
      var session = ChatSession(system: nil, readsMedia: false)
      #expect(session.take(word) == .leave)
    }
    var session = ChatSession(system: nil, readsMedia: false)
    #expect(session.take(nil) == .leave)
  }

  @Test("Questions and answers gather until clear")
  func history() {
    var session = ChatSession(system: "Be kind.", readsMedia: false)
    #expect(session.prompt == "<<< ")
    #expect(session.take("") == .read)
    #expect(session.take("One?") == .answer)
    session.answered("1")
    #expect(session.take("tool:42") == .answer)
    #expect(roles(session) == ["system: Be kind.", "user: One?", "assistant: 1", "tool: 42"])
    #expect(session.take("clear") == .read)
    #expect(roles(session) == ["system: Be kind."])
  }

  @Test("A new system text forgets the conversation; default-system brings the old one back")
  func system() {
    var session = ChatSession(system: "old", readsMedia: false)
    #expect(session.take("Hello") == .answer)
    #expect(session.take("reset-system") == .read)
    #expect(session.prompt == "<<<[S] ")
    #expect(session.take("new") == .read)
    #expect(roles(session) == ["system: new"])
    #expect(session.take("reset-system") == .read)
    #expect(session.take("default-system") == .read)
    #expect(roles(session) == ["system: old"])
  }

  @Test("In multi-line mode a line ending in # ends the text")
  func multiLine() {
    var session = ChatSession(system: nil, readsMedia: false)
    #expect(session.take("multi-line") == .read)
    #expect(session.prompt == "<<<[M] ")
    #expect(session.take("first") == .read)
    #expect(session.prompt == "")
    #expect(session.take("exit") == .read)
    #expect(session.take("last#") == .answer)
    #expect(roles(session) == ["user: first\nexit\nlast"])
    #expect(session.take("reset-system") == .read)
    #expect(session.prompt == "<<<[MS] ")
    #expect(session.take("S#") == .read)
    #expect(session.take("single-line") == .read)
    #expect(session.prompt == "<<< ")
  }

  @Test("Tags ask for files in reading order, for a model that reads them")
  func media() {
    var session = ChatSession(system: nil, readsMedia: true)
    #expect(session.take("<video>then<image>and<image>") == .read)
    #expect(session.prompt == "Input a video path or URL <<< ")
    #expect(session.take("v.mp4") == .read)
    #expect(session.prompt == "Input an image path or URL <<< ")
    #expect(session.take("a.png") == .read)
    #expect(session.take("b.png") == .answer)
    #expect(session.request.images == ["a.png", "b.png"])
    #expect(session.request.videos == ["v.mp4"])
    session.takeBack()
    #expect(session.request.images.isEmpty && session.request.messages.isEmpty)
    var text = ChatSession(system: nil, readsMedia: false)
    #expect(text.take("<image>") == .answer)
  }

  @Test("Partial words wait for a blank, a line end or a CJK character")
  func words() {
    var words = WordwiseText()
    #expect(words.add("Hel") == "")
    #expect(words.add("lo wor") == "Hello ")
    #expect(words.add("ld\nx") == "world\n")
    #expect(words.add("你好y") == "x你好")
    #expect(words.finish() == "y")
  }
}
