import Foundation
import Testing

@testable import DataPipeline
@testable import Support

/// Media on their way through preparation, packing and loading.
@Suite struct MediaLoadingTests {
  @Test(
    "Files with bad media lose the bad rows and keep the others",
    arguments: [
      ("missing_image.jsonl", 1, ["does not exist", "ROOT_IMAGE_DIR"]),
      (
        "truncated_jpeg.jsonl", 5,
        ["cut short", "cut short", "not a picture", "file is empty", "damaged"]
      ), ("aspect_ratio.jsonl", 1, ["aspect ratio 400 is over 200"]),
      (
        "video.jsonl", 5,
        ["file is empty", "damaged", "needs at least 2 frames, has 1", "not exist", "no picture"]
      ),
      ("tag_mismatch.jsonl", 0, []), ("mixed_types.jsonl", 0, []),
    ])
  func badFiles(file: String, dropped: Int, reasons: [String]) throws {
    // One picture of these rows is not among the files of the tests.
    let text = try String(contentsOfFile: Fixtures.bad(file), encoding: .utf8)
      .replacing("media/square_clip.mp4", with: "media/clip_5f_10fps.mp4")
      .replacing("media/reading.mp4", with: "media/clip_5f_10fps.mp4")
    let folder = try Fixtures.Folder()
    var options = MediaFixtures.options(try folder.write(file, text))
    options.rows.threads = 2
    let template = try MediaFixtures.template { $0.rootFolder = "/nowhere" }
    let prepared = try DatasetPlan.prepare(
      options: options, encode: { (row) throws(Fault) in try template.encode(row) },
      media: MediaFixtures.processor())
    let report = try #require(prepared.report.files.first)
    #expect(report.dropped == dropped)
    for reason in reasons { #expect(report.reasons.contains { $0.contains(reason) }, "\(reason)") }
    #expect(prepared.train.count == report.read - dropped)
  }

  @Test("A clip without frames leaves no rows, which stops the program")
  func emptyFrames() throws {
    let fault = try #require(
      TextFixtures.fault { _ = try MediaFixtures.prepare("video_empty_frames.jsonl") })
    #expect(fault.code == .noRows)
    #expect(fault.found?.contains("videos[0] has no frames") == true)
  }

  /// Rows of one picture each, and their file.
  private func rows(_ pictures: [String], in folder: Fixtures.Folder) throws -> String {
    let lines = pictures.map {
      #"{"query": "<image>what", "response": "this", "images": ["\#($0)"]}"# + "\n"
    }
    return try folder.write("rows.jsonl", lines.joined())
  }

  private func prepare(_ file: String, _ change: (inout DataOptions) -> Void) throws -> PreparedData
  {
    var options = MediaFixtures.options(file)
    change(&options)
    let template = try MediaFixtures.template()
    return try DatasetPlan.prepare(
      options: options, encode: { (row) throws(Fault) in try template.encode(row) },
      media: MediaFixtures.processor())
  }

  @Test("Packs carry the patches of all their rows in order, however they are prepared")
  func batches() throws {
    let folder = try Fixtures.Folder()
    let pictures = ["media/thumb_40x27.jpg", "media/onebit.png", "media/gray16.png"]
    let file = try rows(pictures + pictures, in: folder)
    var results: [[String]] = []
    for (lazy, streaming, workers) in [
      (false, false, 0), (false, false, 3), (true, false, 2), (false, true, 1),
    ] {
      let data = try prepare(file) {
        $0.encoding.lazy = lazy
        $0.encoding.streaming = streaming
        $0.encoding.maxLength = 100
      }
      var plan = BatchPlan()
      plan.kind = .single
      plan.microBatchSize = 3
      plan.globalBatchSize = 3
      plan.maxEpochs = 1
      plan.workers = workers
      let source = try BatchSource(data.train, plan: plan)
      var names: [String] = []
      while let batch = try source.next() {
        #expect(batch.media.allSatisfy { $0.patches != nil })
        names += batch.media.map(\.name)
        let pads = batch.inputIDs.count { $0 == 151_655 }
        #expect(pads == batch.media.reduce(0) { $0 + $1.grid.patches / 4 })
      }
      results.append(names)
    }
    #expect(results == [[String]](repeating: pictures + pictures, count: results.count))
  }

  @Test("Packing counts the tokens of pictures, and a picture that goes missing costs its row only")
  func lostPicture() throws {
    let folder = try Fixtures.Folder()
    let copy = "\(folder.path)/copy.jpg"
    try FileManager.default.copyItem(
      atPath: "\(Fixtures.data)/media/thumb_40x27.jpg", toPath: copy)
    let file = try rows([copy, "media/thumb_40x27.jpg"], in: folder)
    let data = try prepare(file) {
      $0.encoding.packing = true
      $0.encoding.maxLength = 64
    }
    guard case .indexed(let samples) = data.train else { throw Fault(.internalError, "no samples") }
    #expect(samples.count == 1)
    #expect(try samples.documents(0).count == 2)
    try FileManager.default.removeItem(atPath: copy)
    let left = try samples.documents(0)
    #expect(left.flatMap(\.media).map(\.name) == ["media/thumb_40x27.jpg"])
    #expect(data.report.files.first?.replaced == 1)
    #expect(data.report.files.first?.reasons.first?.contains("does not exist") == true)
  }

  @Test("A row that is cut keeps every place of its pictures")
  func cutting() throws {
    let folder = try Fixtures.Folder()
    let file = try rows(["media/thumb_40x27.jpg"], in: folder)
    let template = try MediaFixtures.template()
    for side in [TruncationStrategy.left, .right] {
      let data = try prepare(file) {
        $0.encoding.maxLength = 9
        $0.encoding.truncation = side
        $0.encoding.protectedTokens = template.placeholderIDs
      }
      guard case .indexed(let samples) = data.train else { continue }
      let row = try #require(try samples.documents(0).first)
      #expect(row.inputIDs.count == 9)
      #expect(row.inputIDs.count { $0 == 151_655 } == 6)
      #expect(row.media.count == 1)
    }
  }
}
