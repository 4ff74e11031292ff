import Checkpoint
import Foundation
import Model
import Support
import Tensor

/// The adapters of a run: what the flags, a PEFT folder or an adapter checkpoint say is built beside the
/// frozen base, and where its values come from.
struct AdapterSetup {
  /// Where the values come from.
  private enum Origin {
    case new
    case folder(PublishedAdapter)
    case checkpoint(AdapterCheckpoint)
  }

  let plan: AdapterPlan
  private let origin: Origin

  /// - Returns: nil when whole weights are trained.
  /// - Throws: `OPT-140`, `OPT-103` for flags that leave nothing to adapt, `CKPT-161`.
  init?(_ options: TrainingOptions, _ config: QwenConfig) throws(Fault) {
    let flags = options.tuner
    guard flags.trainType == .lora else { return nil }
    let map = NameMap(config)
    let choice = AdapterChoice(flags, form: options.form == .swift ? .published : .fused)
    var plan: AdapterPlan
    if let path = flags.adapters.first {
      let folder = try AdapterFolder(PathText.absolute(path))
      let adapter = try PublishedAdapter(folder, map, sharesA: options.form == .megatron)
      plan = adapter.plan
      if options.report.parsed.isGivenByUser("lora_dropout") { plan.dropout = flags.loraDropout }
      plan.dtype = choice.dtype
      origin = .folder(adapter)
    } else if let path = flags.adapterLoad, PathText.exists(path + "/adapter_config.json") {
      // A checkpoint of the form of swift sft: the adapter lies beside the state of its run.
      let adapter = try PublishedAdapter(
        try AdapterFolder(path), map, sharesA: options.form == .megatron)
      plan = adapter.plan
      plan.dropout = flags.loraDropout
      plan.dtype = choice.dtype
      origin = .folder(adapter)
    } else if let path = flags.adapterLoad {
      let checkpoint = try AdapterCheckpoint(path, config)
      plan = checkpoint.plan
      plan.dropout = flags.loraDropout
      plan.dtype = choice.dtype
      origin = .checkpoint(checkpoint)
    } else {
      plan = try choice.plan(for: map, isFrozen: { flags.isFrozenPart($0) })
      origin = .new
    }
    guard !plan.sites.isEmpty || !plan.savedWeights.isEmpty else {
      throw Fault(
        .optionsDisagree, "no linear map is left to adapt", at: .flag("target_modules"),
        fix: "unfreeze a part of the model, or name other target_modules")
    }
    self.plan = plan
  }

  /// Gives the adapters of a built model, whose base is filled, their values.
  func fill(_ model: QwenModel, seed: Int) throws(Fault) {
    switch origin {
    case .new: try model.initializeAdapters(seed: seed)
    case .folder(let adapter): try model.loadAdapters(from: adapter)
    case .checkpoint(let checkpoint): try model.loadAdapters(from: checkpoint)
    }
  }
}

extension TrainingOptions {
  /// The checkpoint of adapters that the run goes on from; nil without one.
  var adapterCheckpoint: String? { tuner.trainType == .lora ? tuner.adapterLoad : nil }
}

extension AdapterChoice {
  init(_ flags: TunerFlags, form: Form) {
    self.init()
    self.form = form
    rank = flags.loraRank
    alpha = Double(flags.loraAlpha)
    stabilized = flags.useRSLoRA
    dropout = flags.loraDropout
    dtype = flags.loraDType == .bfloat16 ? .bfloat16 : .float32
    targets = flags.targetModules
    pattern = flags.targetRegex
    modulesToSave = flags.modulesToSave
    trainsBiases = flags.loraBias == .all
  }
}
