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
