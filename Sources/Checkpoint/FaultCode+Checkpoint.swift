import Support

extension FaultCode {
  public static let badSafetensors = FaultCode(
    "CKPT-101", .corruptCheckpoint, "a safetensors file breaks the rules of its format")
  public static let badSafetensorsIndex = FaultCode(
    "CKPT-102", .corruptCheckpoint, "the index of a sharded safetensors folder does not fit")
  public static let missingTensor = FaultCode(
    "CKPT-103", .corruptCheckpoint, "a checkpoint lacks a tensor that is needed")
  public static let badWriteOrder = FaultCode(
    "CKPT-104", .internalError, "a writer was given other bytes than announced")
  public static let badShardSize = FaultCode(
    "CKPT-105", .usage, "a shard size is not written as a size")
  public static let badPickle = FaultCode(
    "CKPT-111", .corruptCheckpoint, "a pickle is damaged or uses a refused operation")
  public static let pickleNotAllowed = FaultCode(
    "CKPT-112", .corruptCheckpoint, "a pickle names code that is not on the list of plain data")
  public static let pickleTooLarge = FaultCode(
    "CKPT-113", .corruptCheckpoint, "a pickle exceeds a limit of the reader")
  public static let badArchive = FaultCode(
    "CKPT-121", .corruptCheckpoint, "a torch archive is damaged or of an unknown kind")
  public static let badArchiveChecksum = FaultCode(
    "CKPT-122", .corruptCheckpoint, "the content of a torch archive fails its checksum")
  public static let badTensorRecord = FaultCode(
    "CKPT-123", .corruptCheckpoint, "a stored tensor does not fit its storage or its index entry")
  public static let badCheckpointIndex = FaultCode(
    "CKPT-131", .corruptCheckpoint, "the index of a Megatron checkpoint is damaged")
  public static let badTiling = FaultCode(
    "CKPT-132", .corruptCheckpoint, "the pieces of a tensor do not cover it exactly once")
  public static let unsafePath = FaultCode(
    "CKPT-133", .corruptCheckpoint, "a file name in a checkpoint leaves its folder")
  public static let unsupportedCheckpoint = FaultCode(
    "CKPT-134", .badData, "a checkpoint of a kind this program does not read")
  public static let badRequest = FaultCode(
    "CKPT-135", .internalError, "a part was asked for that the stored tensor does not have")
  public static let notACheckpoint = FaultCode(
    "CKPT-141", .missingInput, "a folder is not a checkpoint")
  public static let badTracker = FaultCode(
    "CKPT-142", .corruptCheckpoint, "the tracker file names no usable iteration")
  public static let incompleteCheckpoint = FaultCode(
    "CKPT-143", .corruptCheckpoint, "a checkpoint is not complete")
  public static let manifestMismatch = FaultCode(
    "CKPT-144", .corruptCheckpoint, "a file differs from what the manifest says")
  public static let badOptimizerState = FaultCode(
    "CKPT-151", .corruptCheckpoint, "optimizer states of a checkpoint do not fit")
  public static let badAdapter = FaultCode(
    "CKPT-161", .badData, "an adapter's folder is damaged, or of a kind that is not implemented")
}
