import Foundation
import Support

/// A TensorBoard event file that scalars are appended to.
public final class EventFile {
  public let path: String
  private let file: AppendFile
  private let queueSize: Int
  private let now: () -> Double
  private var queue: [UInt8] = []
  private var queued = 0

  /// Makes `folder` and a new file in it.
  /// - Parameters:
  ///   - queueSize: events that are kept back before they are written.
  ///   - now: seconds since 1970 UTC.
  /// - Throws: `FILE-003`.
  public init(
    folder: String, queueSize: Int = 50, number: Int = 0,
    now: @escaping () -> Double = Clock.wallSeconds
  ) throws(Fault) {
    try RunDirectory.make(folder)
    let host = ProcessInfo.processInfo.hostName
    let process = ProcessInfo.processInfo.processIdentifier
    path = folder + "/events.out.tfevents.\(Int(now())).\(host).\(process).\(number)"
    file = try AppendFile(path: path)
    self.queueSize = max(1, queueSize)
    self.now = now
    add(EventRecord(wallTime: now(), step: 0, fileVersion: "brain.Event:2"))
    try flush()
  }

  /// Adds points of one step.
  /// - Parameter step: x of the curve (iterations, or samples for the `… vs samples` curves).
  public func add(_ scalars: [(tag: String, value: Double)], step: Int) throws(Fault) {
    guard !scalars.isEmpty else { return }
    let points = scalars.map { (tag: $0.tag, value: Float($0.value)) }
    add(EventRecord(wallTime: now(), step: step, scalars: points))
    if queued >= queueSize { try flush() }
  }

  /// Writes what is kept back.
  public func flush() throws(Fault) {
    guard !queue.isEmpty else { return }
    let bytes = queue
    queue = []
    queued = 0
    try file.append(bytes)
  }

  /// Writes the rest and closes the file.
  public func close() throws(Fault) {
    try flush()
    try file.close()
  }

  /// Length (8 bytes), its checksum, content, its checksum.
  private func add(_ event: EventRecord) {
    let content = event.bytes
    let length = littleEndian(UInt64(content.count))
    queue += length + littleEndian(MaskedCRC.of(length))
    queue += content + littleEndian(MaskedCRC.of(content))
    queued += 1
  }
}
