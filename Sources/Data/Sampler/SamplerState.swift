import Support

/// The exact position in the data, as a checkpoint keeps it.
public struct SamplerState: Sendable, Equatable {
  /// Samples (packs when packing) that all ranks have taken since the run began.
  public var consumed: Int
  /// The epoch the next sample belongs to, from 0.
  public var epoch: Int
  /// Rows of the data set; nil for a stream. Another number means other data.
  public var rows: Int?
  /// The place of a stream in its files.
  var stream: StreamPosition?

  public init(consumed: Int = 0, epoch: Int = 0, rows: Int? = nil) {
    self.consumed = consumed
    self.epoch = epoch
    self.rows = rows
  }

  /// The state as a checkpoint writes it.
  public var json: JSONValue {
    var object = JSONObject([
      ("consumed_samples", JSONValue(consumed)), ("epoch", JSONValue(epoch)),
      ("rows", rows.map { JSONValue($0) } ?? .null),
    ])
    object["stream"] = stream?.json
    return .object(object)
  }

  /// - Throws: `DATA-112` if a member is missing or no whole number.
  public init(json: JSONValue) throws(Fault) {
    guard let consumed = json["consumed_samples"]?.int, let epoch = json["epoch"]?.int,
      consumed >= 0, epoch >= 0
    else {
      throw Fault(
        .badResume, "the data position of the checkpoint is not readable",
        expected: "consumed_samples and epoch as whole numbers", found: json.write())
    }
    self.init(consumed: consumed, epoch: epoch, rows: json["rows"]?.int)
    guard let place = json["stream"], !place.isNull else { return }
    guard let position = StreamPosition(place) else {
      throw Fault(.badResume, "the place of the stream in its files is not readable")
    }
    stream = position
  }
}
