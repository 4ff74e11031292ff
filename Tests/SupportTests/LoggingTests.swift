import Foundation
import Support
import Synchronization
import Testing

/// Collects text from any thread.
private final class Sink: Sendable {
  private let kept = Mutex("")
  func add(_ text: String) { kept.withLock { $0 += text } }
  var text: String { kept.withLock { $0 } }
}

@Suite("Logger")
struct LoggerTests {
  @Test("only the speaking rank is heard, in whole lines with their level")
  func speaker() {
    let sink = Sink()
    Logger(rank: 0, sink: sink.add).info("from 0")
    Logger(rank: 1, sink: sink.add).error("from 1")
    #expect(sink.text == "[INFO] from 0\n")
  }

  @Test("without a speaker every rank is heard and named")
  func all() {
    let sink = Sink()
    Logger(rank: 3, speaker: nil, sink: sink.add).warning("slow")
    #expect(sink.text == "[WARNING] [rank 3] slow\n")
  }

  @Test("messages below the level are neither written nor made")
  func level() {
    let sink = Sink()
    let logger = Logger(level: .warning, sink: sink.add)
    let made = Mutex(0)
    func text() -> String {
      made.withLock { $0 += 1 }
      return "x"
    }
    logger.debug(text())
    logger.info(text())
    logger.error(text())
    #expect(made.withLock { $0 } == 1 && sink.text == "[ERROR] x\n")
  }

  @Test(
    "levels are read as Python's logging reads them",
    arguments: [
      ("INFO", LogLevel.info), ("warn", .warning), ("10", .debug), ("35", .error),
      ("99", .critical),
      ("FATAL", .critical),
    ])
  func levels(text: String, level: LogLevel) {
    #expect(LogLevel(text: text) == level)
    #expect(LogLevel(text: "loud") == nil && LogLevel(text: "-1") == nil)
  }
}

@Suite("Files that only grow")
struct AppendFileTests {
  @Test("bytes of several openings follow each other")
  func appends() throws {
    let path = NSTemporaryDirectory() + "append-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: path) }
    for text in ["a", "b"] {
      let file = try AppendFile(path: path)
      try file.append(line: text)
      try file.synchronize()
      try file.close()
    }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "a\nb\n")
  }

  @Test("writing after closing is a fault, closing twice is not")
  func closed() throws {
    let path = NSTemporaryDirectory() + "append-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: path) }
    let file = try AppendFile(path: path)
    try file.close()
    try file.close()
    #expect(throws: Fault.self) { try file.append(line: "x") }
  }

  @Test("a folder that is not there is a fault that names the path")
  func missing() {
    do {
      _ = try AppendFile(path: "/nowhere/at/all")
      Issue.record("must fail")
    } catch {
      #expect(error.code == .cannotWrite && error.description.contains("/nowhere/at/all"))
    }
  }
}

@Suite("Clocks")
struct ClockTests {
  @Test("the clock for durations never goes back")
  func monotonic() {
    var last = Clock.monotonicSeconds()
    for _ in 0..<1000 {
      let now = Clock.monotonicSeconds()
      #expect(now >= last)
      last = now
    }
  }

  @Test("a stamp has fixed width in both spellings")
  func stamps() {
    let time = LocalTime(year: 2025, month: 1, day: 2, hour: 3, minute: 4, second: 5)
    #expect(time.logStamp == "2025-01-02 03:04:05" && time.folderStamp == "20250102-030405")
    #expect(LocalTime(wallSeconds: 1_700_000_000).year == 2023)
  }
}
