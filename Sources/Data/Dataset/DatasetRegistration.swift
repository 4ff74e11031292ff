import Support

/// What is known of a data set beforehand: where it lives, its subsets and how its rows are read.
public struct DatasetRegistration: Sendable, Equatable {
  /// A named part of a data set.
  public struct Subset: Sendable, Equatable {
    /// The name in the repository.
    public var subset: String
    /// The name used in `--dataset`; the same unless registered otherwise.
    public var name: String
    /// Splits that are joined in order; nil = those of the data set.
    public var splits: [String]?
    public var columns: [String: String] = [:]
    /// Left out of `all`.
    public var isWeak = false

    public init(_ subset: String, name: String? = nil) {
      self.subset = subset
      self.name = name ?? subset
    }
  }

  /// How rows are read before the common rules; the folder of clips is found when it is opened.
  enum Kind: Sendable, Equatable { case common, chineseAlpaca, latexOCR, videoChat }

  var name: String?
  var modelScopeID: String?
  var huggingFaceID: String?
  var path: String?
  var subsets: [Subset] = [Subset("default")]
  var splits = ["train"]
  var columns: [String: String] = [:]
  var kind = Kind.common

  /// Where clips lie, and the archive that they come in.
  static let clipFolder = "Test_Videos"
  static let clipArchive = "videos.zip"

  /// The last parts of its ids and its path: a clone under any folder is known by it.
  var lastComponents: [String] {
    [modelScopeID, huggingFaceID, path].compactMap {
      $0?.split(separator: "/").last.map(String.init)
    }
  }

  /// Which parts a word means.
  /// - Throws: `DATA-105` if several are registered and none is named.
  func select(_ wanted: [String], word: String) throws(Fault) -> [Subset] {
    let names = subsets.map(\.name)
    if wanted.isEmpty {
      if subsets.count <= 1 { return subsets }
      if let standard = subsets.first(where: { $0.name == "default" }) { return [standard] }
      throw Fault(
        .badDatasetWord, "\"\(word)\" has several subsets and none is named", at: .flag("dataset"),
        expected: "one of " + names.joined(separator: ", "), fix: "write \(word):\(names[0])")
    }
    if wanted == ["all"], !names.contains("all") { return subsets.filter { !$0.isWeak } }
    return wanted.map { name in subsets.first { $0.name == name } ?? Subset(name) }
  }
}

/// All registrations: those that are built in and those of `--custom_dataset_info`.
public struct DatasetRegistry: Sendable {
  private(set) var entries: [DatasetRegistration]

  public init() { entries = Self.builtIn }

  mutating func add(_ entry: DatasetRegistration) { entries.append(entry) }

  /// The registration of a name, an id, or a local folder with the last part of an id. Entries of
  /// the user win.
  func find(_ name: String) -> DatasetRegistration? {
    let exact = entries.last {
      $0.name == name || $0.modelScopeID == name || $0.huggingFaceID == name || $0.path == name
    }
    if let exact { return exact }
    let last = Self.lastComponent(of: name)
    return entries.last { $0.lastComponents.contains(last) }
  }

  /// Last part of a path; in a hub cache (`datasets--ORG--NAME/snapshots/REVISION`) the NAME.
  static func lastComponent(of path: String) -> String {
    let parts = path.split(separator: "/").map(String.init)
    if let place = parts.lastIndex(of: "snapshots"), place > 0,
      parts[place - 1].hasPrefix("datasets--")
    {
      return parts[place - 1].components(separatedByDashes: 2)
    }
    return parts.last ?? path
  }

  private static let builtIn: [DatasetRegistration] = {
    var alpaca = DatasetRegistration()
    alpaca.modelScopeID = "AI-ModelScope/alpaca-gpt4-data-zh"
    alpaca.huggingFaceID = "llm-wizard/alpaca-gpt4-data-zh"
    alpaca.kind = .chineseAlpaca
    var latex = DatasetRegistration()
    latex.modelScopeID = "AI-ModelScope/LaTeX_OCR"
    latex.huggingFaceID = "linxy/LaTeX_OCR"
    latex.subsets = [
      "default", "human_handwrite", "human_handwrite_print", "synthetic_handwrite", "small",
    ].map { DatasetRegistration.Subset($0) }
    latex.splits = ["train", "validation", "test"]
    latex.kind = .latexOCR
    var video = DatasetRegistration()
    video.modelScopeID = "swift/VideoChatGPT"
    video.huggingFaceID = "lmms-lab/VideoChatGPT"
    video.subsets = ["Generic", "Temporal", "Consistency"].map { DatasetRegistration.Subset($0) }
    video.splits = ["test"]
    video.kind = .videoChat
    return [alpaca, latex, video]
  }()
}

extension String {
  /// What stands after the first `count` double dashes.
  fileprivate func components(separatedByDashes count: Int) -> String {
    var rest = Substring(self)
    for _ in 0..<count {
      guard let mark = rest.firstRange(of: "--") else { return String(rest) }
      rest = rest[mark.upperBound...]
    }
    return String(rest)
  }
}
