import Support

extension FaultCode {
  static let promptTooLong = FaultCode(
    "GEN-101", .badData, "a prompt leaves no room for an answer")
  static let badInferRequest = FaultCode(
    "GEN-102", .badData, "a request cannot be answered as it is")
  static let tooManyRequests = FaultCode("GEN-103", .badData, "too many requests are open")
  static let generationClosed = FaultCode("GEN-104", .badData, "the engine was closed")
  static let cannotServe = FaultCode("GEN-105", .cannotWrite, "the address cannot be served")
}
