import Support

extension FaultCode {
  /// A data file that cannot be parsed stops the program; it is no bad row.
  public static let badDataFile = FaultCode(
    "DATA-101", .badData, "a data file cannot be read as rows")
  public static let badRow = FaultCode("DATA-102", .badData, "a row cannot be used")
  public static let noRows = FaultCode("DATA-103", .badData, "no rows are left to use")
  public static let unknownColumns = FaultCode(
    "DATA-104", .badData, "no column of a data set has a meaning")
  public static let badDatasetWord = FaultCode(
    "DATA-105", .usage, "a data set word cannot be understood")
  public static let badSplit = FaultCode(
    "DATA-106", .usage, "a data set cannot be split or sampled as asked")
  public static let badInterleave = FaultCode(
    "DATA-107", .usage, "chances of interleaving do not fit")
  public static let datasetNotFound = FaultCode(
    "DATA-108", .missingInput, "a data set is not on this machine")
  public static let badDatasetInfo = FaultCode(
    "DATA-109", .badData, "a file of --custom_dataset_info cannot be understood")
  /// The row alone is at fault: it is longer than `--max_length` and was not cut.
  public static let rowTooLong = FaultCode("DATA-110", .badData, "a row is over max_length")
  public static let badSampler = FaultCode(
    "DATA-111", .usage, "batch sizes and rows do not fit together")
  public static let badResume = FaultCode(
    "DATA-112", .badData, "the data position of a checkpoint does not fit this run")
  public static let fetchFailed = FaultCode(
    "DATA-113", .badData, "no row could be encoded in place of a bad one")
  public static let badDataOptions = FaultCode(
    "DATA-114", .usage, "data options exclude each other")
  public static let differentRows = FaultCode(
    "DATA-115", .badData, "ranks that share the encoding have read different rows")
}
