import Support

/// One turn of a conversation. `role` is one of system, user, assistant, tool_call,
/// tool_response, tool.
public struct Message: Sendable, Equatable {
  public var role: String
  public var content: String
  /// The row's own verdict on training this turn; wins over `--loss_scale`.
  public var loss: Bool?

  public init(role: String, content: String, loss: Bool? = nil) {
    self.role = role
    self.content = content
    self.loss = loss
  }
}

/// A row after its columns were recognised: what every template and loader works on.
public struct StandardRow: Sendable, Equatable {
  public var messages: [Message]
  public var images: [JSONValue] = []
  public var videos: [JSONValue] = []
  public var audios: [JSONValue] = []
  public var tools: JSONValue?
  public var objects: JSONValue?
  public var channel: String?
  /// Rows that already carry token ids are taken as they are.
  public var inputIDs: [Int32]?
  public var labels: [Int32]?
  /// Other standard columns (label, margin, rejected_…) and, when unused columns are kept, the rest.
  public var others = JSONObject()
  public var source: Source

  /// Where the row was read.
  public struct Source: Sendable, Equatable {
    public var file: String
    /// Line of the file, or index of the object in a list, from 1.
    public var line: Int
    public init(file: String, line: Int) {
      self.file = file
      self.line = line
    }
  }

  public init(messages: [Message], source: Source) {
    self.messages = messages
    self.source = source
  }
}

/// A row as the model sees it. `labels[i]` belongs to `inputIDs[i]` (not shifted); −100 = not trained.
public struct EncodedRow: Sendable, Equatable {
  public var inputIDs: [Int32]
  public var labels: [Int32]
  /// Weight per token beside `labels`; nil when every weight is 0 or 1.
  public var lossScale: [Float]?
  public var channel: String?
  /// Pictures and clips in the order in which their tokens stand.
  public var media: [MediaItem]
  /// What is doubtful about the row and was kept; for the report.
  public var warnings: [String] = []

  public init(
    inputIDs: [Int32], labels: [Int32], lossScale: [Float]? = nil, channel: String? = nil,
    media: [MediaItem] = []
  ) {
    self.inputIDs = inputIDs
    self.labels = labels
    self.lossScale = lossScale
    self.channel = channel
    self.media = media
  }
}

/// One micro-batch of one data-parallel rank: rows joined without padding between them.
public struct PackedBatch: Sendable {
  public var inputIDs: [Int32]  // [t]
  public var labels: [Int32]  // [t], not shifted
  public var lossScale: [Float]?  // [t]
  public var positions: [Int32]  // [t], restart at 0 for each document
  public var cuSeqlens: [Int32]  // starts of the documents, then t
  public var channels: [String?]  // one per document
  /// Documents that are real samples; padding counts as none.
  public var sampleCount: Int
  /// Pictures and clips in the order in which their tokens stand, with their patches.
  public var media: [MediaItem] = []

  public init(
    inputIDs: [Int32], labels: [Int32], lossScale: [Float]?, positions: [Int32],
    cuSeqlens: [Int32], channels: [String?], sampleCount: Int
  ) {
    self.inputIDs = inputIDs
    self.labels = labels
    self.lossScale = lossScale
    self.positions = positions
    self.cuSeqlens = cuSeqlens
    self.channels = channels
    self.sampleCount = sampleCount
  }
}
