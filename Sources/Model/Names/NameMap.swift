import Support

/// Which rows of which published tensors make up one of our whole tensors.
///
/// Read both ways: import copies published rows into ours, export copies ours into published ones.
/// `NameMap.all` lists every tensor of a model once, so both directions can be checked for
/// completeness.
public struct NameMapRow: Sendable, Equatable {
  /// Our name: Megatron's, one per layer and expert.
  public let name: String
  /// Shape of the whole tensor.
  public let shape: [Int]
  public let pieces: [Piece]

  /// `count` rows of our tensor from `row` on are those of the published tensor from `publishedRow` on,
  /// the published tensor seen as rows as long as ours.
  public struct Piece: Sendable, Equatable {
    public let published: String
    public let row: Int
    public let publishedRow: Int
    public let count: Int
    /// Set where the published tensor holds the transpose: its rows have this many elements, our
    /// columns are its rows from `publishedRow` on, and our rows its columns from `publishedColumn`.
    public var transposedWidth: Int?
    public var publishedColumn = 0

    init(published: String, row: Int, publishedRow: Int, count: Int) {
      self.published = published
      self.row = row
      self.publishedRow = publishedRow
      self.count = count
    }
  }
}

/// The table of names between HuggingFace folders and this program, for every model of the family.
public struct NameMap: Sendable {
  public let config: QwenConfig
  /// How the published folder stores experts.
  public let experts: ExpertLayout
  public let all: [NameMapRow]
  /// Every published tensor with its shape, in the order of the model.
  public let published: [(name: String, shape: [Int])]
  private let index: [String: Int]
  private let shapes: [String: [Int]]

  /// - Parameter experts: by default that of the published folders.
  public init(_ config: QwenConfig, experts: ExpertLayout? = nil) {
    self.config = config
    self.experts = experts ?? ExpertLayout.published(config)
    var builder = NameMapBuilder(config: config, experts: self.experts)
    builder.build()
    all = builder.rows
    published = builder.published
    index = Dictionary(uniqueKeysWithValues: builder.rows.enumerated().map { ($1.name, $0) })
    shapes = Dictionary(uniqueKeysWithValues: builder.published)
  }

  public subscript(name: String) -> NameMapRow? { index[name].map { all[$0] } }

  /// Shape of a published tensor, or nil for a name that the model does not have.
  public func shape(of published: String) -> [Int]? { shapes[published] }

  /// Whether a published tensor of this shape can be read; a vocabulary may be padded further.
  func fits(_ published: String, _ shape: [Int]) -> Bool {
    guard let expected = shapes[published] else { return false }
    if shape == expected { return true }
    return shape.count == expected.count && shape.dropFirst() == expected.dropFirst()
      && (shape.first ?? 0) >= (expected.first ?? 0)
  }
}
