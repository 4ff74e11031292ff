import Foundation
import Support

extension TrainingOptions {
  /// Stores what follows from other options; every change is a note for the log.
  mutating func derive(_ complaints: inout Complaints) {
    checkSpellings(&complaints)
    if form == .swift { applySwiftForm(&complaints) }
    if report.program == .pt {
      template.useChatTemplate = false
      template.lossScale = "all"
      note("megatron-pt trains on plain text: use_chat_template=false, loss_scale=all")
    }
    deriveData()
    deriveParallel()
    if let factor = experts.expertCapacityFactor, factor < 0 { experts.expertCapacityFactor = nil }
    if experts.tokenDispatcherType != .alltoall {
      note("moe_token_dispatcher_type \(experts.tokenDispatcherType.rawValue): alltoall is used")
    }
    if recompute.moeLayer, recompute.granularity == .selective,
      !recompute.modules.contains("moe")
    {
      recompute.modules.append("moe")
    }
    report.inert += extra.inert
    if run.resume != nil, checkpoint.load == nil {
      note("resume auto: no complete checkpoint below --save, the run begins anew")
    }
    if optimizer.reduceDType == .bf16 {
      note("reduce_dtype bf16: gradients are rounded on the way, so results depend on the layout")
    }
    if logging.evalInterval == nil { logging.evalInterval = checkpoint.saveInterval }
    if schedule.lr == nil { schedule.lr = tuner.trainType == .lora ? 1e-4 : 1e-5 }
    if precision.calculatePerTokenLoss == nil { precision.calculatePerTokenLoss = true }
    if checkpoint.save == nil, let name = modelName {
      let root = form == .swift ? "output" : "megatron_output"
      checkpoint.save = PathText.absolute("\(root)/\(name)")
    }
    report.inert += IdleOptions.given(self)
  }

  private mutating func deriveData() {
    if data.packing, !data.paddingFree {
      data.paddingFree = true
      if report.parsed.isGiven("padding_free") { note("packing implies padding_free=true") }
    }
    if data.splitDatasetRatio > 0, !data.valDataset.isEmpty || data.streaming {
      data.splitDatasetRatio = 0
      note("split_dataset_ratio=0, because of \(data.streaming ? "streaming" : "val_dataset")")
    }
    if data.streaming {
      if data.dataloaderType != .external {
        data.dataloaderType = .external
        note("dataloader_type=external, because of streaming")
      }
      if data.numWorkers > 1 {
        data.numWorkers = 1
        note("num_workers=1, because of streaming")
      }
    }
    if data.packingLength == nil { data.packingLength = data.maxLength }
    if data.seqLength == nil { data.seqLength = data.packing ? data.packingLength : data.maxLength }
    if template.useChatTemplate == nil { template.useChatTemplate = true }
  }

  private mutating func deriveParallel() {
    if parallel.sequenceParallel, parallel.tensor == 1 {
      parallel.sequenceParallel = false
      report.warnings.append(
        "sequence_parallel is switched off: it needs tensor_model_parallel_size above 1")
    }
  }

  /// Two spellings of one quantity on one line contradict each other even when the values agree.
  private func checkSpellings(_ complaints: inout Complaints) {
    for (name, other) in SwiftFormFlags.pairs
    where report.parsed.isGivenByUser(name) && report.parsed.isGivenByUser(other) {
      complaints.add(
        .optionsDisagree, nil,
        "--\(name) and --\(other) are two spellings of one quantity; give one")
    }
  }

  private mutating func note(_ text: String) { report.notes.append(text) }

  /// Last component of the model's path or id.
  public var modelName: String? {
    model.model.map { name in
      let parts = name.split(separator: "/").map(String.init)
      return parts.last ?? name
    }
  }

  /// Ranks that share one replica of the dense weights.
  public var modelParallelSize: Int { parallel.tensor * parallel.pipeline * parallel.context }

  /// Data-parallel size in the world of the report; 1 when it does not divide.
  public var dataParallelSize: Int { max(1, report.world.size / max(1, modelParallelSize)) }
}

extension PrecisionFlags {
  /// The type a run computes in.
  public enum Compute: String, Sendable { case bf16, fp16, fp32 }

  /// Resolves the two flags against the type of the weights.
  ///
  /// float32 weights without a flag train in fp32; the reference would take fp16.
  public func compute(for type: ModelFlags.TorchDType) -> Compute {
    if bf16 == true { return .bf16 }
    if fp16 == true { return .fp16 }
    switch type {
    case .bfloat16: return bf16 == nil ? .bf16 : .fp32
    case .float16: return fp16 == nil ? .fp16 : .fp32
    case .float32: return .fp32
    }
  }
}
