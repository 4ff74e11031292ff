import Support

extension FaultCode {
  public static let missingTokenizer = FaultCode(
    "TOK-101", .missingInput, "a model folder has no tokenizer")
  public static let badTokenizer = FaultCode(
    "TOK-102", .badData, "a tokenizer file is damaged or contradicts itself")
  public static let unsupportedTokenizer = FaultCode(
    "TOK-103", .badData, "a tokenizer is of a kind that is not built in")
}
