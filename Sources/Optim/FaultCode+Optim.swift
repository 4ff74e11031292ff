import Support

extension FaultCode {
  public static let scheduleRefused = FaultCode(
    "OPTIM-101", .usage, "the learning-rate or weight-decay schedule contradicts itself")
  public static let optimizerRefused = FaultCode(
    "OPTIM-102", .usage, "options of the optimizer contradict each other")
  public static let canonicalChunksRefused = FaultCode(
    "OPTIM-103", .usage, "canonical_batch_chunks does not fit the data-parallel size")
  public static let scheduleDiffers = FaultCode(
    "OPTIM-104", .usage, "the schedule of the checkpoint is not the one that was asked for")
  public static let nonFiniteGradient = FaultCode(
    "OPTIM-201", .nonFinite, "a gradient is NaN or infinite")
  public static let nonFiniteLoss = FaultCode(
    "OPTIM-202", .nonFinite, "the loss is NaN or infinite")
  public static let offloadUnavailable = FaultCode(
    "OPTIM-301", .usage, "the far tier of the optimizer state cannot be used")
  public static let offloadFailed = FaultCode(
    "OPTIM-302", .cannotWrite, "the far tier of the optimizer state failed")
  public static let stateMismatch = FaultCode(
    "OPTIM-401", .corruptCheckpoint, "optimizer state does not belong to these parameters")
}
