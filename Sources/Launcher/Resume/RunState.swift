import Checkpoint
import DataPipeline
import Optim
import Support

/// What a run needs to go on as if it had not stopped, beyond weights, optimizer and schedule; kept in
/// an object of our own that other readers of the checkpoint pass over.
struct RunState {
  static let objectKey = ObjectShard.key("megatron_sft.run_state", offset: [0], shape: [1])
  private static let version = 1

  /// Where the next sample is taken from; nil in a checkpoint of another program.
  var data: SamplerState?
  /// Samples of steps that changed the weights.
  var scheduledSamples: Int?
  var skippedSteps = 0
  /// Random numbers are a function of this and of the position; nil with `--no_save_rng`.
  var seed: Int?
  /// What was gathered since the last logged step.
  var window = LogWindowState()
  /// Layout and types, for notes: sizes of the groups, formats of the states.
  var facts = JSONObject()

  var value: PickleValue {
    var object = JSONObject()
    object["version"] = JSONValue(Self.version)
    object["data"] = data?.json
    object["scheduled_samples"] = scheduledSamples.map { JSONValue($0) }
    object["skipped_steps"] = JSONValue(skippedSteps)
    if let seed { object["rng"] = .object(JSONObject([("seed", JSONValue(seed))])) }
    object["log"] = .object(window.json)
    object["run"] = .object(facts)
    // Megatron reads every object as a list, one value for each that it asked for.
    return .list([PickleValue(json: .object(object))])
  }

  init() {}

  /// - Returns: nil when the checkpoint was written by another program.
  /// - Throws: `CKPT-134` for a newer version, `DATA-112` for a damaged position, what the reader throws.
  init?(_ reader: TorchDistReader) throws(Fault) {
    guard reader.index.objects[Self.objectKey] != nil else { return nil }
    guard let json = try reader.object(Self.objectKey).value.items?.first?.json,
      let version = json["version"]?.int
    else {
      throw Fault(
        .badPickle, "the state of the run is not readable", at: .file(reader.folder))
    }
    guard version == Self.version else {
      throw Fault(
        .unsupportedCheckpoint, "the state of the run has version \(version)",
        at: .file(reader.folder), expected: "\(Self.version)",
        fix: "use a newer version of this program")
    }
    if let position = json["data"] { data = try SamplerState(json: position) }
    scheduledSamples = json["scheduled_samples"]?.int
    skippedSteps = json["skipped_steps"]?.int ?? 0
    seed = json["rng"]?["seed"]?.int
    window = LogWindowState(json["log"]?.object ?? JSONObject())
    facts = json["run"]?.object ?? JSONObject()
  }
}

/// Scales of the scaled states of one rank: with them the same layout stores the same bits again.
enum StateScaleRecord {
  private static let name = "megatron_sft.state_scales"

  /// The object of this rank; nil when no state has a scale.
  static func object(_ run: TrainingRun) -> ObjectShard? {
    let optimizer = run.optimizer
    let parameters = Dictionary(
      uniqueKeysWithValues: optimizer.parameters.map { ($0.parameter.name, $0.parameter) })
    var scales: [(String, PickleValue)] = []
    for owned in optimizer.ownedStates {
      guard let parameter = parameters[owned.name] else { continue }
      for kind in optimizer.stateKinds {
        guard let scale = optimizer.stateScale(kind, of: owned.name, run: owned.range) else {
          continue
        }
        scales.append(
          (ScaleName(kind, parameter, owned.range).text, .float(Double(scale))))
      }
    }
    guard !scales.isEmpty else { return nil }
    let world = run.groups.world
    return ObjectShard(
      ObjectShard.key(name, offset: [world.rank], shape: [world.size]),
      value: .list([.dictionary(scales)]))
  }

  /// The scales of a rank, when as many ranks saved.
  static func read(
    _ reader: TorchDistReader, rank: Int, of size: Int
  ) throws(Fault) -> [String: Float] {
    let key = ObjectShard.key(name, offset: [rank], shape: [size])
    guard reader.index.objects[key] != nil else { return [:] }
    var scales: [String: Float] = [:]
    for member in try reader.object(key).value.items?.first?.members ?? [] {
      guard let name = member.key.text, let scale = member.value.double.map({ Float($0) }),
        scale.isFinite, scale >= 0
      else { continue }
      scales[name] = scale
    }
    return scales
  }
}
