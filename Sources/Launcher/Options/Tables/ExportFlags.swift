import Support

/// Conversion between published models and Megatron checkpoints.
public struct ExportFlags: Sendable {
  /// What an encoded data set keeps of its media.
  public enum CachedMedia: String, OptionChoice { case references, patches }

  public var toMcore = false
  public var toHF = false
  public var toCachedDataset = false
  public var cachedMedia = CachedMedia.references
  public var mcoreModel: String?
  public var outputDir: String?
  public var existOK = false
  public var testConvertPrecision = false
  public var testConvertDType = "float32"
  /// Number of shard files; nil: by size.
  public var threadCount: Int?
  public var maxShardSize = "5GB"
  public var expertOrder = ExpertOrder.published
  public var loadArgs = true
  public var loadDataArgs = false
  public var teExtraState = true
  public var teExtraStateForm = MegatronObjects.Form.empty
  /// Shown, and nothing else is done.
  public var inspect: String?
  /// Checked, and nothing else is done.
  public var verify: String?
  /// Two to compare, and nothing else is done.
  public var diff: [String] = []

  public var mcoreAdapters: [String] = []
  public var mergeLoRA = false
  public var toPEFT = false
  public var adapters: [String] = []
  public var pushToHub = false
  public var hubModelID: String?
  public var hubPrivateRepo = false
  public var commitMessage = "update files"

  public init() {}

  /// An adapter is merged into its base, or written in another form.
  public var merges: Bool { mergeLoRA || !mcoreAdapters.isEmpty || toPEFT }

  /// A folder is published: as it is, or after an adapter was merged.
  public var pushes: Bool {
    pushToHub && !toMcore && !toHF && !toPEFT && !toCachedDataset && mcoreAdapters.isEmpty
      && !isReading
  }

  /// It reads and shows, and writes nothing.
  var isReading: Bool { inspect != nil || verify != nil || !diff.isEmpty }
  /// How many things are asked for.
  var actions: Int {
    [
      toMcore, toHF || (merges && !toMcore), toCachedDataset, inspect != nil, verify != nil,
      !diff.isEmpty, pushes && !merges,
    ].count { $0 }
  }

  /// Bytes of `maxShardSize`, in decimal units.
  public var maxShardBytes: Int? { Self.bytes(of: maxShardSize) }

  /// Reads `5GB`, `300MB`, `2TB`, `10KB` or a plain number of bytes.
  static func bytes(of text: String) -> Int? {
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3), ("B", 1)]
    let upper = text.uppercased()
    let unit = units.first { upper.hasSuffix($0.0) } ?? ("", 1)
    guard let number = NumberSyntax.float(String(upper.dropLast(unit.0.count))),
      number * unit.1 >= 1, number * unit.1 < 9e18
    else { return nil }
    return Int(number * unit.1)
  }

  private static let noQuantisation = "quantised models are not supported"

  static let rows: [Option<ExportFlags>] =
    [
      .init(\.toMcore, "to_mcore", "Published model to Megatron checkpoint."),
      .init(\.toHF, "to_hf", "Megatron checkpoint to published model."),
      Option(\.mcoreModel, "mcore_model", "Folder above iter_xxxxxxx.").path(),
      .init(\.mcoreAdapters, "mcore_adapters", "Run of adapters to merge into its base."),
      Option(\.outputDir, "output_dir", "Folder to write.").unset("<source>-mcore or <source>-hf")
        .path(),
      .init(\.existOK, "exist_ok", "Write into a folder that exists."),
      .init(
        \.testConvertPrecision, "test_convert_precision",
        "Run both models on one sample and compare."),
      Option(\.testConvertDType, "test_convert_dtype", "Type of that comparison.")
        .oneOf(ModelFlags.TorchDType.allCases.map(\.rawValue)),
      Option(\.threadCount, "thread_count", "Shard files of the checkpoint.").unset("by size")
        .atLeast(1),
      Option(recorded: "safe_serialization", .bool, .bool(true), "Write safetensors.")
        .refused("published models are written as safetensors only"),
      Option(\.maxShardSize, "max_shard_size", "Largest file of the published model.").check {
        guard case .text(let text) = $0, bytes(of: text) == nil else { return nil }
        return "expected a size such as 5GB or 300MB, got \"\(text)\""
      },
      .init(\.mergeLoRA, "merge_lora", "Merge the adapter of --adapters into its base."),
      .init(\.adapters, "adapters", "Adapter in a PEFT folder."),
      Option(
        recorded: "train_type", .choice(["full", "lora"]), .text("lora"),
        "Kind of the run that made the checkpoint."
      )
      .noEffect("the checkpoint tells"),
      .init(\.loadArgs, "load_args", "Restore settings from the args.json of the source."),
      .init(\.loadDataArgs, "load_data_args", "Restore the data options too."),
      .init(
        \.toCachedDataset, "to_cached_dataset",
        "Encode --dataset and --val_dataset once for many runs, into an HDF5 file."),
      .init(
        \.cachedMedia, "cached_media",
        "What is stored of pictures and clips: where they lie, or their patches."),
      Option(recorded: "group_size", .int, .int(128), "Quantisation.").refused(noQuantisation),
      Option(recorded: "to_ollama", .bool, .bool(false), "Ollama file.").refused(
        "ollama files are not written"),
      .init(
        \.toPEFT, "to_peft_format", "Write the adapter of --mcore_adapters as a PEFT folder."),
    ].under(.export) + hubRows + laterRows

  private static let hubRows: [Option<ExportFlags>] = [
    .init(
      \.pushToHub, "push_to_hub",
      "Upload the model of --model, the adapter of --adapters, or what --merge_lora wrote."),
    .init(\.hubModelID, "hub_model_id", "Name in the hub: user/repo."),
    .init(\.hubPrivateRepo, "hub_private_repo", "The repository is, or becomes, a private one."),
    .init(\.commitMessage, "commit_message", "Message of the one commit."),
  ].under(.hub)

  private static let laterRows: [Option<ExportFlags>] = [
    Option(
      \.teExtraState, "te_extra_state",
      "Write the empty _extra_state entries that the reference expects."),
    .init(
      \.expertOrder, "hf_expert_layout",
      "Order of the experts of Qwen3-VL-MoE in published folders: as published, or as transformers 5 writes it."
    ),
    Option(
      \.teExtraStateForm, "te_extra_state_form",
      "What these entries hold: nothing, or a pickled None in modules with a matrix, for Transformer "
        + "Engine 2.0 to 2.3."),
    Option(
      \.inspect, "inspect",
      "Show what a checkpoint, a published or adapter folder, or a single file holds."
    ).path(),
    Option(
      \.verify, "verify", "Read all of a checkpoint or folder and check it in every way."
    ).path(),
    .init(\.diff, "diff", "Compare two checkpoints of any forms, tensor by tensor."),
  ].under(.own)
}
