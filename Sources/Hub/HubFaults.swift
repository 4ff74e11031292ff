import Support

extension FaultCode {
  public static let hubUnreachable = FaultCode(
    "HUB-101", .communication, "a hub cannot be reached")
  public static let hubDenied = FaultCode(
    "HUB-102", .usage, "a hub asks for a token, or for another one")
  public static let notInHub = FaultCode(
    "HUB-103", .missingInput, "a hub has no such model, data set or revision")
  public static let badTransfer = FaultCode(
    "HUB-104", .communication, "a file arrived with another content than the hub announced")
  public static let badHubAnswer = FaultCode(
    "HUB-105", .communication, "the answer of a hub cannot be understood")
  public static let badPush = FaultCode(
    "HUB-106", .missingInput, "a folder cannot be published as it is")
  public static let pushConflict = FaultCode(
    "HUB-107", .communication, "somebody else changed the repository during an upload")
}
