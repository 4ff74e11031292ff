import Support

extension FaultCode {
  public static let programMissing = FaultCode(
    "RUN-101", .missingInput, "a program that should be started is not there")
  static let conversionStopped = FaultCode(
    "RUN-103", .stoppedOnRequest, "a conversion was stopped by a signal and can go on")
}
