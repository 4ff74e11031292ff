import Support

extension FaultCode {
  public static let programMissing = FaultCode(
    "RUN-101", .missingInput, "a program that should be started is not there")
}
