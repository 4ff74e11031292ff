import Foundation
import Testing

@testable import Launcher

@Suite("Options that claim to be used")
struct ReadOptionsTests {
  /// Rows whose value acts while options are read, so nothing after that asks for it.
  static let actWhileReading: Set<String> = [
    "load_args", "load_data_args", "max_epochs", "train_type", "task_type", "ckpt_format",
    "gemm_backend", "reduce_dtype", "on_corrupt", "agent_template", "moe_layer_recompute",
    "stop_after", "kinds", "inject",
  ]

  @Test("every option of training that is not marked as without effect is read by some code")
  func everyOptionIsRead() throws {
    let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Sources/Launcher")
    var rows: [String: String] = [:]
    var read: Set<Substring> = []
    let pattern = /\(\s*\\\.(?<property>\w+),\s*"(?<name>\w+)"/
    let files = FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil)
    while let file = files?.nextObject() as? URL {
      guard file.pathExtension == "swift" else { continue }
      let text = try String(contentsOf: file, encoding: .utf8)
      if file.path.contains("/Options/Tables/") {
        for match in text.matches(of: pattern) {
          rows[String(match.output.name)] = String(match.output.property)
        }
      } else if !file.path.contains("/Options/Rules/") {
        // Identifiers behind a point; by hand, because Unicode sees no word end before a point.
        for part in text.utf8.split(separator: UInt8(ascii: ".")).dropFirst() {
          read.insert(Substring(part.prefix { $0 == 95 || isLetterOrDigit($0) }))
        }
      }
    }
    var unread: [String] = []
    for spec in TrainingOptions.megatronTable.specs + TrainingOptions.swiftTable.specs
    where spec.effect == .used && !Self.actWhileReading.contains(spec.name) {
      guard let property = rows[spec.name] else { continue }
      if !read.contains(Substring(property)) { unread.append(spec.name) }
    }
    #expect(
      unread.isEmpty, "mark as noEffect or refused, or read it: \(Set(unread).sorted())")
  }

  private func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
  }
}
