import Support

/// What puts pictures and clips in place of the tags `<image>`, `<video>`, `<ref-object>` and
/// `<bbox>`; the place where a vision model joins the templates.
public protocol MediaExpansion: Sendable {
  /// Before the turns are read: measures the media and adds tags that are missing.
  func prepare(_ row: StandardRow) throws(Fault) -> PreparedMedia
  /// The rendered conversation with its tags replaced. Vision text has weight 0.
  func expand(_ segments: [Segment], with media: PreparedMedia) throws(Fault) -> [Segment]
  /// The ids with each placeholder repeated for its picture; those have label -100.
  func expand(_ row: EncodedRow, with media: PreparedMedia) throws(Fault) -> EncodedRow
  /// Changes with everything the expansion depends on beside the row.
  var fingerprint: String { get }
}

/// A row whose media were measured.
public struct PreparedMedia: Sendable {
  /// With the tags that were missing.
  public internal(set) var row: StandardRow
  var pictures: [MediaProcessor.MeasuredPicture] = []
  var clips: [MediaProcessor.MeasuredClip] = []
  /// The texts that `<ref-object>` and `<bbox>` stand for, in order.
  var references: [String] = []
  var boxes: [String] = []
  /// What is doubtful but kept.
  var warnings: [String] = []

  public init(row: StandardRow) { self.row = row }
}

/// For models without vision: tags are text like any other.
public struct TagsAsText: MediaExpansion {
  public init() {}
  public func prepare(_ row: StandardRow) -> PreparedMedia { PreparedMedia(row: row) }
  public func expand(_ segments: [Segment], with media: PreparedMedia) -> [Segment] { segments }
  public func expand(_ row: EncodedRow, with media: PreparedMedia) -> EncodedRow { row }
  public var fingerprint: String { "tags as text" }
}
