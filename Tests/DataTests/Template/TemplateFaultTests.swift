import Foundation
import Testing

@testable import DataPipeline
@testable import Support

@Suite struct TemplateFaultTests {
  private typealias T = TextFixtures

  /// Code and message of the fault of each row of a malformed file, nil where the row is kept.
  /// The rows are taken as written: what the reader refuses first is given to the template here.
  private func faults(_ name: String) throws -> [Fault?] {
    let template = try T.template { $0.maxLength = 2048 }
    let text = try String(contentsOfFile: Fixtures.bad(name), encoding: .utf8)
    return try text.split(separator: "\n").enumerated().map { i, line in
      let value = try JSONValue.parse(String(line))
      var row = StandardRow(
        messages: (value["messages"]?.array ?? []).map {
          Message(role: $0["role"]?.string ?? "", content: $0["content"]?.string ?? "")
        }, source: .init(file: name, line: i + 1))
      row.tools = value["tools"]
      return T.fault { _ = try template.encode(row) }
    }
  }

  @Test("Roles out of order are named with their place, and good rows are kept")
  func roleOrder() throws {
    let faults = try faults("role_order.jsonl")
    #expect(
      faults.map { $0?.code.id } == [
        nil, "DATA-203", "DATA-201", "DATA-201", "DATA-201", "DATA-201", nil,
      ])
    #expect(faults[1]?.message == "no assistant text, nothing to train on")
    #expect(faults[2]?.message == "messages[0] is a system message and nothing follows")
    #expect(faults[3]?.message.hasPrefix("messages[1].role is \"system\"") == true)
    #expect(faults[4]?.message == "messages[1].role is \"robot\"")
    #expect(faults[5]?.message == "messages[1] is a tool result without a tool call before it")
    #expect(faults[5]?.place == .file("role_order.jsonl", line: 6))
  }

  @Test("Tools and calls that are not JSON are told apart")
  func badTools() throws {
    let faults = try faults("tools_bad.jsonl")
    #expect(faults.map { $0?.code.id } == ["DATA-202", "DATA-202", nil])
    #expect(faults[0]?.message.contains("tools is not valid JSON") == true)
    #expect(faults[1]?.message.contains("tool_call content is not valid JSON") == true)
  }

  @Test("Rows over max_length name their length, the others are kept")
  func tooLong() throws {
    let faults = try faults("too_long.jsonl")
    #expect(faults.map { $0?.code.id } == ["DATA-110", "DATA-110", nil])
    #expect(faults[0]?.message.hasSuffix("tokens, max_length is 2048") == true)
  }

  @Test("Empty messages are refused, empty texts are legal")
  func emptyMessages() throws {
    let faults = try faults("empty_messages.jsonl")
    #expect(faults[0]?.message == "messages is empty")
    #expect(faults[1] == nil && faults[3] == nil)
  }

  @Test("Every fault says how to mend it")
  func remedies() throws {
    for name in ["role_order.jsonl", "tools_bad.jsonl", "too_long.jsonl", "empty_messages.jsonl"] {
      for fault in try faults(name) { #expect(fault == nil || fault?.fix != nil) }
    }
  }

  @Test("Plain text refuses what it has no place for")
  func plain() throws {
    let template = try T.template { $0.usesChatTemplate = false }
    func code(_ row: StandardRow) -> FaultCode? { T.fault { _ = try template.encode(row) }?.code }
    #expect(code(T.row(("system", "s"), ("assistant", "a"))) == .badConversation)
    #expect(
      code(T.row(("user", "q"), ("assistant", "a"), ("tool", "r"), ("assistant", "b")))
        == .badConversation)
    var row = T.row(("user", "q"), ("assistant", "a"))
    row.tools = .array([.object(JSONObject([("name", .string("f"))]))])
    #expect(code(row) == .badConversation)
  }

  @Test(
    "Calls without a name or arguments are refused",
    arguments: [
      #"{"arguments": {}}"#, #"{"name": "f"}"#, #"{"name": "f", "arguments": "{"}"#, "[]", "5",
    ])
  func calls(_ content: String) throws {
    let template = try T.template()
    let row = T.row(("user", "q"), ("tool_call", content), ("assistant", "a"))
    #expect(T.fault { _ = try template.encode(row) }?.code == .badTools)
  }

  @Test("A prompt without a question is refused")
  func noQuestion() throws {
    let template = try T.template()
    #expect(
      T.fault { _ = try template.encodePrompt(T.row(("assistant", "a"))) }?.code
        == .badConversation)
  }

  @Test("Options that exclude each other are refused by their flag")
  func options() throws {
    func place(_ change: (inout TemplateOptions) -> Void) -> Fault.Place? {
      T.fault { _ = try T.template(.qwen3, change) }?.place
    }
    #expect(place { $0.maxLength = 0 } == .flag("max_length"))
    #expect(place { ($0.usesChatTemplate, $0.system) = (false, "s") } == .flag("system"))
    #expect(T.fault { _ = try TemplateName(named: "llama") }?.code == .unknownTemplate)
    #expect(T.fault { _ = try LossScale(named: "none") }?.code == .unknownTemplate)
    #expect(T.fault { _ = try TruncationStrategy(named: "both") }?.code == .unknownTemplate)
  }

  @Test("A system text is a word with its line breaks, or a file")
  func systemText() throws {
    let folder = try Fixtures.Folder()
    let file = try folder.write("s.txt", "from file")
    #expect(try TemplateOptions.systemText("a\\nb") == "a\nb")
    #expect(try TemplateOptions.systemText(file) == "from file")
    #expect(try TemplateOptions.systemText("none.txt") == "none.txt")
  }
}
