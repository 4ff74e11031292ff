import Support

extension FaultCode {
  public static let programMissing = FaultCode(
    "RUN-101", .missingInput, "a program that should be started is not there")
  public static let programNotBuilt = FaultCode(
    "RUN-102", .usage, "a program that comes with a later version")
}
