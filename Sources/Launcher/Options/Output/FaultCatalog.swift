import Checkpoint
import DataPipeline
import Hub
import Model
import Optim
import Parallel
import Support
import Tensor

/// All codes a program can end with, for `--explain`. A test compares the list with the sources.
enum FaultCatalog {
  static let codes: [FaultCode] = rooms.flatMap(\.codes)

  /// The codes by the part of the program that declares them, in the order of docs/exit-codes.md.
  private static let rooms: [(title: String, codes: [FaultCode])] = [
    ("Options, layout and start", launcher), ("Generation", generation),
    ("Files and the program itself", support),
    ("Hubs", hub), ("Data, chat template, tokenizer", data), ("Model", model),
    ("Checkpoints", checkpoint),
    ("Schedule and optimizer", optim), ("Ranks", parallel), ("Memory and processor", tensor),
  ]

  private static let support: [FaultCode] = [
    .missingFile, .unreadableFile, .cannotWrite, .badJSON, .openSecret, .stopped, .internalError,
    .badPlacement, .badShape,
  ]

  private static let hub: [FaultCode] = [
    .hubUnreachable, .hubDenied, .notInHub, .badTransfer, .badHubAnswer, .badPush, .pushConflict,
  ]

  private static let tensor: [FaultCode] = [
    .outOfMemory, .cpuLevel, .noOpenBLAS,
  ]

  private static let parallel: [FaultCode] = [
    .communication, .differentCalls, .rankLeft, .rankLate, .cannotStartMPI, .badCall,
    .layoutRefused,
  ]

  private static let model: [FaultCode] = [
    .badModelConfig, .unknownModel, .badModelWeights, .visionMismatch, .badAdapterTarget,
  ]

  private static let optim: [FaultCode] = [
    .scheduleRefused, .optimizerRefused, .canonicalChunksRefused, .scheduleDiffers,
    .nonFiniteGradient, .nonFiniteLoss, .offloadUnavailable, .offloadFailed, .stateMismatch,
  ]

  private static let data: [FaultCode] = [
    .badDataFile, .badRow, .noRows, .unknownColumns, .badDatasetWord, .badSplit, .badInterleave,
    .datasetNotFound, .badDatasetInfo, .rowTooLong, .badSampler, .badResume, .fetchFailed,
    .badDataOptions, .differentRows, .badConversation, .badTools, .nothingToTrain, .badTokenRow,
    .unknownTemplate,
    .badTemplateOption, .mediaNotFound, .badMedia, .mediaTooLarge, .badMediaSetting, .badDownload,
    .badStore,
    .otherStore,
    .missingTokenizer, .badTokenizer, .unsupportedTokenizer,
  ]

  private static let checkpoint: [FaultCode] = [
    .badSafetensors, .badSafetensorsIndex, .missingTensor, .badWriteOrder, .badShardSize,
    .badPickle, .pickleNotAllowed, .pickleTooLarge, .badArchive, .badArchiveChecksum,
    .badTensorRecord, .badCheckpointIndex, .badTiling, .unsafePath, .unsupportedCheckpoint,
    .badRequest, .notACheckpoint, .badTracker, .incompleteCheckpoint, .manifestMismatch,
    .badOptimizerState, .badAdapter,
  ]

  private static let generation: [FaultCode] = [
    .promptTooLong, .badInferRequest, .tooManyRequests, .generationClosed, .cannotServe,
  ]

  private static let launcher: [FaultCode] = [
    .differentCheckpoints, .noOptimizerState, .noRandomState, .idOutsideVocabulary,
    .worldDoesNotFit, .wrongOptions,
    .unknownOption,
    .badOptionValue, .optionsDisagree, .refusedOption, .unknownCommand, .launchContradiction,
    .unknownFaultCode, .programMissing, .conversionStopped, .hang,
  ]

  /// What the exit code of a fault means for a job script.
  static func meaning(_ exit: ExitCode) -> String {
    switch exit {
    case .done: return "done"
    case .differs: return "a comparison failed: the printed rows say which"
    case .usage: return "wrong options: mend the command line"
    case .badData: return "bad data: mend the rows that are named"
    case .missingInput: return "missing input: a file or folder is not there or cannot be read"
    case .internalError: return "a mistake of the program: please report it with the whole message"
    case .memory: return "not enough memory: use more ranks, recomputation or smaller batches"
    case .cannotWrite: return "cannot write: make room or mend the permissions, then resume"
    case .communication:
      return "ranks or a hub could not be talked to: see the first message, then start again"
    case .stoppedOnRequest: return "stopped on request with a checkpoint: start again to go on"
    case .nonFinite: return "loss or gradient is not finite: nothing was saved after it"
    case .corruptCheckpoint: return "a checkpoint is damaged: take the previous one"
    case .layout: return "the parallel layout does not fit the model or the number of ranks"
    }
  }

  /// The text of `--explain`; `all` gives the whole catalogue, which is docs/exit-codes.md.
  /// - Throws: `OPT-107` with the nearest code.
  static func explain(_ id: String) throws(Fault) -> String {
    if id.lowercased() == "all" { return document }
    guard let code = codes.first(where: { $0.id == id.uppercased() }) else {
      let near = EditDistance.nearest(to: id.uppercased(), among: codes.map(\.id))
      throw Fault(
        .unknownFaultCode, "\(id) is no code of this program", at: .flag("explain"),
        expected: codes.map(\.id).sorted().joined(separator: ", "),
        fix: near.map { "did you mean \($0)?" })
    }
    return """
      \(code.id): \(code.title)
      exit code \(code.exit.rawValue): \(meaning(code.exit))

      """
  }

  /// All exit codes and fault codes as Markdown.
  static var document: String {
    var lines = [
      "# Exit codes and fault codes", "",
      "Made by `megatron-sft --explain all`; a test holds this page up to date.", "",
      "Every rank leaves with the same exit code. A message begins with the fault code, and",
      "`--explain CODE` prints its row.", "", "## Exit codes", "", "| code | meaning |",
      "| --- | --- |",
    ]
    lines += ExitCode.allCases.map { "| \($0.rawValue) | \(meaning($0)) |" }
    for room in rooms {
      lines += [
        "", "## \(room.title)", "", "| fault | exit | what happened |", "| --- | --- | --- |",
      ]
      lines += room.codes.map { "| \($0.id) | \($0.exit.rawValue) | \($0.title) |" }
    }
    return lines.joined(separator: "\n") + "\n"
  }
}
