import Foundation
import Support
import Synchronization
import Testing

@testable import Launcher

/// Collects what is printed.
final class Lines: Sendable {
  private let kept = Mutex<[String]>([])
  func add(_ text: String) { kept.withLock { $0.append(text) } }
  var all: [String] { kept.withLock { $0 } }
  var text: String { all.joined() }
}

@Suite("The record of a run")
struct RunLogTests {
  @Test("the number of a run folder is one above the largest, digits compared as numbers")
  func versions() throws {
    let folder = try TemporaryFolder()
    let now = LocalTime(year: 2025, month: 1, day: 2, hour: 3, minute: 4, second: 5)
    func choose() -> String { RunDirectory.choose(save: folder.path, addVersion: true, now: now) }
    #expect(
      RunDirectory.choose(save: folder.path + "/none", addVersion: true, now: now).hasSuffix(
        "/none/v0-20250102-030405"))
    #expect(choose() == folder.path + "/v0-20250102-030405")
    for name in ["v9-20240101-000000", "v10-x", "version", "w77", "v"] {
      try RunDirectory.make(folder.path + "/" + name)
    }
    #expect(choose() == folder.path + "/v11-20250102-030405")
    #expect(RunDirectory.choose(save: folder.path, addVersion: false, now: now) == folder.path)
  }

  @Test("a step gives a printed line and an object, an evaluation too, and the files are complete")
  func records() throws {
    let folder = try TemporaryFolder()
    let printed = Lines()
    var settings = RunLog.Settings()
    settings.tensorboardFolder = folder.path + "/run/runs"
    let log = try RunLog(directory: folder.path + "/run", settings: settings, print: printed.add)
    try log.log(LogLineTests.record)
    try log.plot(LogLineTests.record)
    try log.log(EvalRecord(iteration: 5, losses: [NamedLoss("lm loss", 1)]))
    try log.close()
    let lines = try String(contentsOfFile: log.path, encoding: .utf8).split(separator: "\n")
    #expect(lines.count == 2 && lines[1] == #"{"eval_lm loss": 1.0}"#)
    #expect(try JSONValue.parse(String(lines[0]))["consumed_samples"]?.int == 80)
    #expect(printed.all.count == 2 && printed.all.allSatisfy { $0.hasSuffix("\n") })
    let runs = try FileManager.default.contentsOfDirectory(atPath: folder.path + "/run/runs")
    let events = try EventReader.events(folder.path + "/run/runs/" + (runs.first ?? ""))
    #expect(events.count == 5 && events[1].step == 5 && events[2].step == 80)
  }

  @Test("lines are appended to a file that is there")
  func appends() throws {
    let folder = try TemporaryFolder()
    try folder.write("logging.jsonl", "{\"old\": 1}\n")
    let log = try RunLog(directory: folder.path, settings: RunLog.Settings(), print: { _ in })
    try log.log(EvalRecord(iteration: 5, losses: [NamedLoss("lm loss", 1)]))
    try log.close()
    let text = try String(contentsOfFile: log.path, encoding: .utf8)
    #expect(text == "{\"old\": 1}\n{\"eval_lm loss\": 1.0}\n")
  }

  @Test(
    "a full disk is a fault with exit code 73",
    .enabled(if: FileManager.default.fileExists(atPath: "/dev/full")))
  func fullDisk() throws {
    let file = try AppendFile(path: "/dev/full")
    do {
      try file.append(line: "x")
      Issue.record("the write must fail")
    } catch {
      #expect(error.code == .cannotWrite && error.code.exit == .cannotWrite)
      #expect(error.fix?.contains("make room") == true)
    }
  }

  @Test(
    "a disk that fills while a run is recorded stops the call that met it",
    .enabled(if: FileManager.default.fileExists(atPath: "/dev/full")))
  func fullDiskInRun() throws {
    let folder = try TemporaryFolder()
    try FileManager.default.createSymbolicLink(
      atPath: folder.path + "/logging.jsonl", withDestinationPath: "/dev/full")
    let log = try RunLog(directory: folder.path, settings: RunLog.Settings(), print: { _ in })
    #expect(throws: Fault.self) { try log.log(LogLineTests.record) }
  }

  @Test("a folder that cannot be made is a fault that names it")
  func badFolder() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("file", "")
    do {
      _ = try RunLog(directory: file + "/run", settings: RunLog.Settings(), print: { _ in })
      Issue.record("a file is no folder")
    } catch {
      #expect(error.code == .cannotWrite && error.description.contains(file))
    }
  }

  @Test("the summary keeps the last losses and the best evaluation with its iteration")
  func summary() {
    var summary = RunSummary()
    summary.runDirectory = "/r"
    summary.add(LogLineTests.record)
    for (iteration, loss) in [(10, 2.0), (20, 1.5), (30, 1.5), (40, Double.nan)] {
      summary.add(EvalRecord(iteration: iteration, losses: [NamedLoss("lm loss", loss)]))
    }
    summary.lastCheckpoint = "/r/iter_0000040"
    summary.totalSeconds = 100
    summary.tokens = 12345
    let lines = summary.text.split(separator: "\n").map {
      $0.split(separator: " ", omittingEmptySubsequences: true).joined(separator: " ")
    }
    #expect(lines.contains("run directory: /r") && lines.contains("last iteration: 5"))
    #expect(lines.contains("last checkpoint: /r/iter_0000040"))
    #expect(lines.contains("best evaluation loss: 1.500000E+00 at iteration 20"))
    #expect(lines.contains("last evaluation loss: NAN"))
    #expect(lines.contains("total time: 1m 40s") && lines.contains("tokens per second: 123.5"))
  }
}

@Suite("Progress")
struct ProgressTests {
  static func place(rank: Int = 0, terminal: Bool, mpi: Bool = false, asked: Bool = false)
    -> ProgressDisplay.Place
  {
    var place = ProgressDisplay.Place()
    place.rank = rank
    place.isTerminal = terminal
    place.isInsideMPI = mpi
    place.isAsked = asked
    return place
  }

  static func shown(_ place: ProgressDisplay.Place, width: Int = 80) -> String {
    let lines = Lines()
    var display = ProgressDisplay(
      total: 20, interval: 10, place: place, width: { width }, sink: lines.add)
    for step in 1...20 { display.update(step, elapsedSeconds: Double(step), now: Double(step)) }
    display.finish()
    return lines.text
  }

  @Test("without a terminal there is a plain line every so many steps, without escape codes")
  func plain() {
    let text = Self.shown(Self.place(terminal: false))
    #expect(!text.contains("\u{1B}") && !text.contains("\r"))
    let lines = text.split(separator: "\n")
    #expect(lines.count == 3)
    #expect(lines[1] == "step 10/20 (50.00%), elapsed 10s, remaining 10s")
  }

  @Test("a terminal under mpirun is not believed unless the user asks")
  func underMPI() {
    #expect(!Self.shown(Self.place(terminal: true, mpi: true)).contains("\u{1B}"))
    #expect(Self.shown(Self.place(terminal: true, mpi: true, asked: true)).contains("\u{1B}"))
    #expect(Self.shown(Self.place(terminal: true)).contains("\u{1B}"))
  }

  @Test("other ranks show nothing")
  func silent() {
    #expect(Self.shown(Self.place(rank: 1, terminal: true)).isEmpty)
    #expect(Self.shown(Self.place(rank: 1, terminal: false)).isEmpty)
  }

  @Test("a drawn line stays narrower than the terminal", arguments: [1, 5, 12, 30, 80, 300])
  func width(width: Int) {
    let text = Self.shown(Self.place(terminal: true), width: width)
    for line in text.components(separatedBy: "\r\u{1B}[K") {
      #expect(line.trimmingCharacters(in: .newlines).count < max(1, width))
    }
  }

  @Test("a run of no steps draws without dividing by it")
  func noSteps() {
    let lines = Lines()
    var display = ProgressDisplay(
      total: 0, interval: 1, place: Self.place(terminal: true), width: { 80 }, sink: lines.add)
    display.update(0, elapsedSeconds: 0, now: 0)
    #expect(lines.text.contains("0/0"))
  }
}
