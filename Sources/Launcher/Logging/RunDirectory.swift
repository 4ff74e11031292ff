import Foundation
import Support

/// The folder of a run below `--save`.
public enum RunDirectory {
  /// `<save>/v<N>-<YYYYMMDD-HHMMSS>`, N one above the largest `v<digits>` there, 0 if there is none.
  ///
  /// Chosen on rank 0 and told to the others; nothing is made yet.
  public static func choose(save: String, addVersion: Bool, now: LocalTime = LocalTime()) -> String
  {
    guard addVersion else { return save }
    let entries = (try? FileManager.default.contentsOfDirectory(atPath: save)) ?? []
    let next = entries.compactMap(version).max().map { $0 &+ 1 } ?? 0
    return "\(save)/v\(next)-\(now.folderStamp)"
  }

  /// The digits right behind a leading `v`.
  static func version(of entry: String) -> Int? {
    guard entry.hasPrefix("v") else { return nil }
    let digits = entry.dropFirst().prefix { $0.isASCII && $0.isNumber }
    return Int(digits)
  }

  /// Makes the folder and those above it.
  /// - Throws: `FILE-003` with the reason of the system.
  public static func make(_ path: String) throws(Fault) {
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw Fault(
        .cannotWrite, "the folder cannot be made", at: .file(path),
        fix: "check the folder above it and its permissions", cause: error)
    }
  }
}
