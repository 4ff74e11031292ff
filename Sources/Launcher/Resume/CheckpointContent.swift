import Checkpoint
import Parallel
import Support
import Tensor

/// All that this rank puts into a checkpoint, and the part that is common to all.
///
/// Tensors are read from model and optimizer when they are written.
struct CheckpointContent {
  var tensors: [TensorShard]
  let objects: [ObjectShard]
  let common: CommonState

  /// - Communication: one maximum with optimizer states; agreement on the first save before any step
  ///   with `optimizer_cpu_offload`.
  /// - Throws: `OPTIM-302`, `COMM-003`.
  init(_ run: TrainingRun, window: LogWindowState) throws(Fault) {
    let flags = run.options.checkpoint
    tensors = WeightShards.own(
      run.model, half: run.precision == .fp16, isWriter: { run.holdsFirstCopy(of: $0) })
    var objects: [ObjectShard] = []
    if run.groups.isFirst {
      if flags.teExtraState, run.model.adapters == nil {
        objects += MegatronObjects.extraState(run.folder.config, flags.teExtraStateForm)
      }
      objects.append(
        ObjectShard(
          RunState.objectKey, value: CheckpointContent.state(run, window).value))
    }
    var common = MegatronCommon(run).state
    if !flags.noSaveOptim {
      if !run.optimizer.hasMasters { try run.optimizer.refreshMasters() }
      let record = OptimizerRecord(run: run)
      tensors += record.shards()
      tensors += try FrozenStates(run: run).shards()
      if let scales = StateScaleRecord.object(run) { objects.append(scales) }
      common.optimizer = record.common
      common.scheduler = record.scheduler
      common.contentMetadata = OptimizerRecord.contentMetadata
    }
    self.objects = objects
    self.common = common
  }

  private static func state(_ run: TrainingRun, _ window: LogWindowState) -> RunState {
    var state = RunState()
    // The loader may have read ahead; what counts is what was trained on.
    state.data = run.source.state
    state.data?.consumed = run.position.consumedTrainSamples
    state.scheduledSamples = run.position.scheduledSamples
    state.skippedSteps = run.position.skippedSteps
    state.seed = run.options.checkpoint.noSaveRNG ? nil : run.seed
    state.window = window
    state.facts = RunFacts.json(run)
    return state
  }
}
