import Support

/// What puts pictures and clips in place of the tags `<image>`, `<video>`, `<ref-object>` and
/// `<bbox>`; the place where a vision model joins the templates.
public protocol MediaExpansion: Sendable {
  /// Before the turns are read: adds tags that are missing.
  func addTags(to row: StandardRow) throws(Fault) -> StandardRow
  /// The rendered conversation with its tags replaced. Vision text has weight 0.
  func expand(_ segments: [Segment], of row: StandardRow) throws(Fault) -> [Segment]
  /// The ids with each placeholder repeated for its picture; those have label -100.
  func expand(_ row: EncodedRow, from source: StandardRow) throws(Fault) -> EncodedRow
}

/// For models without vision: tags are text like any other.
public struct TagsAsText: MediaExpansion {
  public init() {}
  public func addTags(to row: StandardRow) -> StandardRow { row }
  public func expand(_ segments: [Segment], of row: StandardRow) -> [Segment] { segments }
  public func expand(_ row: EncodedRow, from source: StandardRow) -> EncodedRow { row }
}
