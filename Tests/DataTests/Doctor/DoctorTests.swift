import Testing

@testable import DataPipeline
@testable import Support

@Suite struct DoctorTests {
  private func examine(_ files: String..., packing: Bool = true) throws -> DoctorReport {
    var options = MediaFixtures.options("")
    options.sources.train = files
    options.encoding.maxLength = 512
    let template = try MediaFixtures.template()
    return DataDoctor(
      options: options, encode: { (row) throws(Fault) in try template.encode(row) },
      media: MediaFixtures.processor()
    ).examine()
  }

  @Test("Every fault of every file is named with its line, also behind a file that cannot be read")
  func faults() throws {
    let bad = ["broken_json.jsonl", "truncated_jpeg.jsonl", "role_order.jsonl", "bbox.jsonl"]
      .map(Fixtures.bad)
    let report = try examine(bad[0], bad[1], bad[2], bad[3])
    let text = report.lines.joined(separator: "\n")
    #expect(text.contains("\(bad[0]):2"))
    for line in 1...5 { #expect(text.contains("doctor: \(bad[1]):\(line): "), "line \(line)") }
    #expect(text.contains("doctor: \(bad[2]):2: no assistant text, nothing to train on"))
    #expect(text.contains("doctor: \(bad[3]):6: image_id 3, but 1 picture"))
    // One file, 5 pictures, 5 turns, 5 boxes.
    #expect(report.faults == 16)
  }

  @Test("More than ten faults of a file are all named")
  func many() throws {
    let folder = try Fixtures.Folder()
    let bad = #"{"messages": [{"role": "robot", "content": "x"}]}"# + "\n"
    let file = try folder.write("rows.jsonl", String(repeating: bad, count: 25))
    let report = try examine(file)
    #expect(report.faults == 25)
    #expect(report.lines.count { $0.contains("\(file):") && $0.contains("robot") } == 25)
  }

  @Test("Lengths, tokens of each source and packing are told")
  func totals() throws {
    let folder = try Fixtures.Folder()
    let file = try Fixtures.numbered(40, "a", in: folder)
    let text = try examine(file).lines.joined(separator: "\n")
    #expect(text.contains("\(file): 40 rows read, 40 usable, 0 bad"))
    #expect(text.contains("Dataset Token Length"))
    #expect(text.contains("packs of 512 tokens to"))
    #expect(text.contains("\(file): 40 usable rows, "))
    #expect(text.contains("usable rows without trained tokens: 0"))
    #expect(text.contains("tokens: 40 ####"))
  }
}
