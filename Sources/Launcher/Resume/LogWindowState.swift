import Optim
import Parallel
import Support

/// What steps gave since the last logged one: a log line is a mean over them, also when the run was
/// stopped in between.
struct LogWindowState: Equatable {
  var losses: [Double] = []
  var tokens = LossTally.Total()
  var balancing: [Double] = []
  var zLosses: [Double] = []
  var skipped = 0
  var notFinite = 0
  /// Loss sums and token counts by channel, of each data-parallel rank.
  var channels: [[String: ChannelSum]] = []

  struct ChannelSum: Equatable {
    var sum: Double
    var count: Int
  }

  init() {}

  var json: JSONObject {
    func list(_ values: [Double]) -> JSONValue { .array(values.map { JSONValue($0) }) }
    var object = JSONObject()
    object["losses"] = list(losses)
    object["loss_sum"] = JSONValue(tokens.sum)
    object["tokens"] = JSONValue(tokens.tokens)
    object["right"] = JSONValue(tokens.right)
    object["balancing"] = list(balancing)
    object["z_losses"] = list(zLosses)
    object["skipped"] = JSONValue(skipped)
    object["not_finite"] = JSONValue(notFinite)
    object["channels"] = .array(channels.map { .object(Self.json($0)) })
    return object
  }

  init(_ json: JSONObject) {
    func list(_ name: String) -> [Double] { json[name]?.array?.compactMap(\.double) ?? [] }
    losses = list("losses")
    tokens.sum = json["loss_sum"]?.double ?? 0
    tokens.tokens = json["tokens"]?.int ?? 0
    tokens.right = json["right"]?.int ?? 0
    balancing = list("balancing")
    zLosses = list("z_losses")
    skipped = json["skipped"]?.int ?? 0
    notFinite = json["not_finite"]?.int ?? 0
    channels = json["channels"]?.array?.compactMap(\.object).map(Self.channels) ?? []
  }

  private static func json(_ channels: [String: ChannelSum]) -> JSONObject {
    JSONObject(
      channels.sorted { $0.key < $1.key }.map {
        ($0.key, .array([JSONValue($0.value.sum), JSONValue($0.value.count)]))
      })
  }

  private static func channels(_ json: JSONObject) -> [String: ChannelSum] {
    var result: [String: ChannelSum] = [:]
    for (name, value) in json.members {
      guard let sum = value.array?.first?.double, let count = value.array?.last?.int else {
        continue
      }
      result[name] = ChannelSum(sum: sum, count: count)
    }
    return result
  }

  /// Fills `channels` with the sums of all data-parallel ranks.
  /// - Communication: two all-gathers of a few bytes over `dp`.
  mutating func gather(_ own: [String: ChannelSum], over dp: any Communicator) throws(Fault) {
    channels = []
    for text in try dp.allTexts(JSONValue.object(Self.json(own)).write()) {
      channels.append(Self.channels((try? JSONValue.parse(text))?.object ?? JSONObject()))
    }
  }

  /// The sums that this data-parallel rank goes on from: its own, or all of them on the first rank when
  /// another number of ranks saved.
  func channels(rank: Int, of size: Int) -> [String: ChannelSum] {
    if channels.count == size { return channels[rank] }
    guard rank == 0 else { return [:] }
    return channels.reduce(into: [:]) { all, own in
      for (name, entry) in own {
        let known = all[name] ?? ChannelSum(sum: 0, count: 0)
        all[name] = ChannelSum(sum: known.sum + entry.sum, count: known.count + entry.count)
      }
    }
  }
}
