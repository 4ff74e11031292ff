import Foundation
import Support

/// `args.json`: the arguments of a run beside its checkpoints.
public enum SavedArguments {
  public static let fileName = "args.json"

  /// Keys whose saved value wins over the command line when settings are restored.
  static let forced = [
    "train_type", "task_type", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
  ]

  /// Keys that are restored where the user said nothing.
  static let filled = [
    "custom_register_path", "external_plugins", "model", "model_type", "model_revision",
    "torch_dtype", "attn_impl", "new_special_tokens", "num_labels", "problem_type",
    "rope_scaling", "max_model_len", "quant_method", "quant_bits", "hqq_axis",
    "bnb_4bit_compute_dtype", "template", "system", "truncation_strategy", "agent_template",
    "norm_bbox", "use_chat_template", "response_prefix",
  ]

  // MARK: Writing

  /// The content of `args.json`: every option of the table, then the derived fields.
  /// - Secrets are null; paths are absolute; types are plain names.
  static func json<Root>(
    _ table: OptionTable<Root>, _ root: Root, _ parsed: ParsedOptions, adding derived: JSONObject
  ) -> JSONValue {
    var object = JSONObject()
    for row in table.rows where !ConfigPrinter.metaOptions.contains(row.spec.name) {
      let spec = row.spec
      var value = row.read?(root) ?? parsed[spec.name] ?? spec.defaultValue
      if spec.isSecret || spec.name.contains("_token") && spec.kind == .text { value = .unset }
      object[spec.name] = value.json
    }
    for (key, value) in derived.members { object[key] = value }
    return .object(object)
  }

  // MARK: Reading

  /// Reads `folder/args.json`.
  /// - Returns: nil when the folder has none.
  /// - Throws: `FILE-002` or `FILE-004` when it is there and cannot be used.
  public static func read(in folder: String) throws(Fault) -> JSONObject? {
    let path = folder + "/" + fileName
    guard PathText.exists(path) else { return nil }
    guard let content = FileManager.default.contents(atPath: path) else {
      throw Fault(.unreadableFile, "the file cannot be read", at: .file(path))
    }
    do throws(JSONSyntaxError) {
      if let object = try JSONValue.parse(String(decoding: content, as: UTF8.self)).object {
        return object
      }
    } catch {
      throw Fault(
        .badJSON, error.reason, at: .file(path, line: error.line, column: error.column))
    }
    throw Fault(.badJSON, "the file must hold an object {argument: value}", at: .file(path))
  }

  /// Training takes only `model` from the checkpoint, or all settings with `load_args`.
  static func reloadForTraining<Root>(
    _ parsed: inout ParsedOptions, table: OptionTable<Root>, _ complaints: inout Complaints
  ) {
    guard case .text(let load)? = parsed["load"] ?? parsed["resume_from_checkpoint"] else { return }
    let all = parsed["load_args"] == .bool(true)
    reload(
      &parsed, from: [load], table: table,
      keys: Keys(forced: all ? forced : [], filled: all ? filled : ["model"]), &complaints)
  }

  /// Export and inference restore settings by default, and the data options when asked.
  /// - Parameter folders: options that name folders, the first that has an `args.json` counts.
  static func reloadForReading<Root>(
    _ parsed: inout ParsedOptions, from folders: [String], _ launch: LaunchEnvironment,
    table: OptionTable<Root>, loadArgs: Bool, _ complaints: inout Complaints
  ) {
    guard parsed["load_args"].map({ $0 == .bool(true) }) ?? loadArgs else { return }
    let paths = folders.compactMap { name -> String? in
      switch parsed[name] {
      case .text(let path)?: return path
      case .list(let paths)?: return paths.first
      default: return nil
      }
    }
    var keys = Keys(forced: forced, filled: filled)
    if parsed["load_data_args"] == .bool(true) { keys.forced += DataFlags.restored }
    let access = HubAccess(launch, modelFlags(parsed), files: .description)
    let places = paths.map { path in
      guard !PathText.exists(PathText.absolute(path)) else { return path }
      // A repository that cannot be had is told of by who reads the model.
      return access.localModel(path) ?? ((try? access.model(path)) ?? nil) ?? path
    }
    reload(&parsed, from: places, table: table, keys: keys, &complaints)
  }

  /// What the options say about the hub, before they are stored.
  private static func modelFlags(_ parsed: ParsedOptions) -> ModelFlags {
    func text(_ name: String) -> String? {
      guard case .text(let text)? = parsed[name] else { return nil }
      return text
    }
    var flags = ModelFlags()
    flags.useHF = parsed["use_hf"] == .bool(true)
    flags.modelRevision = text("model_revision")
    flags.hubToken = text("hub_token")
    flags.hubTokenFile = text("hub_token_file").map(PathText.absolute)
    return flags
  }

  /// Which keys are taken, and whether they win over the user.
  struct Keys: Sendable {
    var forced: [String] = []
    var filled: [String] = []
  }

  /// Takes settings from the first of the folders that has an `args.json`.
  static func reload<Root>(
    _ parsed: inout ParsedOptions, from folders: [String], table: OptionTable<Root>, keys: Keys,
    _ complaints: inout Complaints
  ) {
    for folder in folders.map(PathText.absolute) {
      do throws(Fault) {
        guard let object = try read(in: folder) else { continue }
        for key in keys.forced + keys.filled {
          guard let json = object[key], !json.isNull, let spec = table.spec(key) else { continue }
          if keys.filled.contains(key), parsed.isGivenByUser(spec.name) { continue }
          take(spec, json, from: folder + "/" + fileName, into: &parsed, &complaints)
        }
        return
      } catch {
        complaints.add(error.code, nil, error.description)
        return
      }
    }
  }

  private static func take(
    _ spec: OptionSpec, _ json: JSONValue, from path: String, into parsed: inout ParsedOptions,
    _ complaints: inout Complaints
  ) {
    do throws(ValueReader.Failure) {
      guard let value = try ValueReader.value(spec.kind, json: json) else { return }
      parsed.set(spec.name, value, .savedArguments(path))
    } catch {
      complaints.add(.badOptionValue, nil, "\(path): \"\(spec.name)\": \(error.text)")
    }
  }
}

extension TrainingOptions {
  /// The content of `args.json`.
  /// - Parameter derived: fields that follow from the model and the world, written last.
  public func argumentsJSON(adding derived: JSONObject = JSONObject()) -> JSONValue {
    var fields = JSONObject()
    fields["rank"] = JSONValue(report.world.rank)
    fields["world_size"] = JSONValue(report.world.size)
    for (key, value) in derived.members { fields[key] = value }
    return SavedArguments.json(table, self, report.parsed, adding: fields)
  }
}
