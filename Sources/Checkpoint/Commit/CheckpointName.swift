import Support

/// Which checkpoint of a run: an iteration, or the one called `release`.
public enum CheckpointName: Sendable, Hashable, CustomStringConvertible {
  case iteration(Int)
  case release

  /// The folder name, `iter_0000120` or `release`.
  public var folder: String {
    switch self {
    case .release: return "release"
    case .iteration(let number):
      let text = String(number)
      return "iter_" + String(repeating: "0", count: max(0, 7 - text.count)) + text
    }
  }

  public var description: String { folder }

  /// What the tracker file says of it.
  public var trackerText: String {
    switch self {
    case .release: return "release"
    case .iteration(let number): return String(number)
    }
  }

  /// From a folder name; nil for any other.
  public init?(folder: String) {
    if folder == "release" {
      self = .release
      return
    }
    guard folder.hasPrefix("iter_"), let number = Self.digits(folder.dropFirst(5)),
      CheckpointName.iteration(number).folder == folder
    else { return nil }
    self = .iteration(number)
  }

  /// From the text of a tracker: white space stripped, an integer above 0 or exactly `release`.
  public init?(tracker text: String) {
    let text = text.split(whereSeparator: \.isWhitespace)
    guard text.count == 1 else { return nil }
    if text[0] == "release" {
      self = .release
    } else if let number = Self.digits(text[0]), number > 0 {
      self = .iteration(number)
    } else {
      return nil
    }
  }

  private static func digits(_ text: Substring) -> Int? {
    text.utf8.allSatisfy { $0 >= 48 && $0 <= 57 } ? Int(text) : nil
  }
}

/// The file that says which checkpoint counts. Users edit it to go back, so it is read every time.
public enum Tracker {
  public static let fileName = "latest_checkpointed_iteration.txt"

  /// The checkpoint that the tracker of `root` names; nil when there is no tracker.
  /// - Throws: `CKPT-142` when it is empty or names nothing usable.
  public static func read(_ root: String) throws(Fault) -> CheckpointName? {
    let path = root + "/" + fileName
    guard Folder.kind(path) != .nothing else { return nil }
    let text = String(decoding: try AtomicFile.read(path, limit: 1 << 16), as: UTF8.self)
    guard let name = CheckpointName(tracker: text) else {
      throw Fault(
        .badTracker, "the tracker file names no checkpoint", at: .file(path),
        expected: "an iteration above 0, or the word release",
        found: "\"\(text.prefix(60))\"", fix: "write the iteration to load into it")
    }
    return name
  }

  /// Replaces the tracker, durably.
  /// - Throws: `FILE-003`.
  public static func write(_ name: CheckpointName, to root: String) throws(Fault) {
    try AtomicFile.write(name.trackerText, to: root + "/" + fileName)
  }
}
