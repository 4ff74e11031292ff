import Support

extension FaultCode {
  public static let badConversation = FaultCode(
    "DATA-201", .badData, "the turns of a row make no conversation")
  public static let badTools = FaultCode(
    "DATA-202", .badData, "the tools or a tool call of a row cannot be read")
  public static let nothingToTrain = FaultCode(
    "DATA-203", .badData, "a row has no text to train on")
  public static let badTokenRow = FaultCode(
    "DATA-204", .badData, "the token ids of a row do not fit the model")
  public static let unknownTemplate = FaultCode(
    "DATA-205", .usage, "a template, model type or loss scale has an unknown name")
  public static let badTemplateOption = FaultCode(
    "DATA-206", .usage, "options of the template exclude each other")
}
