import CMPI
import Support

extension FaultCode {
  /// Two ranks of a group are not at the same call: found before any data is used.
  public static let differentCalls = FaultCode(
    "COMM-002", .communication, "ranks of a group made different calls")
  /// A member returned or failed while others wait for it.
  public static let rankLeft = FaultCode(
    "COMM-003", .communication, "a rank left while others wait for it")
  public static let rankLate = FaultCode(
    "COMM-004", .communication, "ranks did not come to a common call in time")
  public static let cannotStartMPI = FaultCode(
    "COMM-005", .communication, "the MPI library could not be started")
  /// A call whose buffers and counts do not belong together: a mistake of the caller.
  public static let badCall = FaultCode(
    "COMM-101", .internalError, "a collective got buffers that do not fit together")
}

/// Turns the error code of the shim into a `Fault`.
///
/// - Throws: COMM-001 with the library's text.
func check(_ error: Int32, _ operation: String) throws(Fault) {
  if error == 0 { return }
  var fault = Fault(
    .communication, "the MPI library reports an error", at: .operation(operation),
    fix: "look at the first rank that failed; the job must be started again")
  fault.cause = errorText(error)
  throw fault
}

/// The text of an error code of the shim or of the MPI library.
func errorText(_ error: Int32) -> String { text { cmpi_error_text(error, $0, $1) } }

/// A text that C writes into a buffer.
func text(_ write: (UnsafeMutablePointer<CChar>, Int) -> Void) -> String {
  var buffer = [CChar](repeating: 0, count: 1024)
  buffer.withUnsafeMutableBufferPointer { part in
    if let base = part.baseAddress { write(base, part.count - 1) }
  }
  let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
  return String(decoding: bytes, as: UTF8.self)
}
