/// A new file that is filled from begin to end and written in large blocks by a thread of its own.
///
/// Bytes may come in any order as long as no byte comes twice; a block goes out when it is full, so a
/// header may follow what it describes. Blocks go past the page cache: writing costs next to no
/// processor time, and memory stays at a few blocks however large the file grows.
public final class BlockFile {
  static let blockBytes = 8 << 20

  /// Copies bytes (target, source, count) into a block, which is not read again by the processor.
  public typealias Copy = @Sendable (UnsafeMutableRawPointer, UnsafeRawPointer, Int) -> Void

  private final class OpenBlock {
    let memory: AlignedBlock
    var filled = 0
    init(_ memory: AlignedBlock) { self.memory = memory }
  }

  private let file: PosixFile
  private let queue: BlockQueue
  private let copy: Copy
  private var open: [Int: OpenBlock] = [:]
  public var path: String { file.path }

  /// - Throws: `FILE-003` when the file exists or cannot be made.
  public init(creating path: String, copy: @escaping Copy) throws(Fault) {
    file = try PosixFile(creating: path, use: .once)
    queue = BlockQueue(file)
    self.copy = copy
  }

  /// Goes on with a file of which the first `size` bytes were written.
  /// - Throws: `FILE-002`, `FILE-003`.
  public init(resuming path: String, size: Int, copy: @escaping Copy) throws(Fault) {
    file = try PosixFile(resuming: path, size: size, use: .once)
    queue = BlockQueue(file)
    self.copy = copy
    let number = size / Self.blockBytes
    let begin = number * Self.blockBytes
    guard begin < size else { return }
    let block = OpenBlock(queue.memory())
    try file.read(
      into: UnsafeMutableRawBufferPointer(rebasing: block.memory.bytes[..<(size - begin)]),
      at: begin)
    block.filled = size - begin
    open[number] = block
  }

  deinit { queue.close() }

  /// Adds bytes; they are copied.
  /// - Throws: `FILE-003`, also for an earlier block that could not be written.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Fault) {
    guard let base = bytes.baseAddress else { return }
    var done = 0
    while done < bytes.count {
      let number = (offset + done) / Self.blockBytes
      let place = offset + done - number * Self.blockBytes
      let count = min(bytes.count - done, Self.blockBytes - place)
      let block = open[number] ?? OpenBlock(queue.memory())
      open[number] = block
      if let target = block.memory.bytes.baseAddress { copy(target + place, base + done, count) }
      block.filled += count
      done += count
      guard block.filled == Self.blockBytes else { continue }
      open[number] = nil
      try queue.put(block.memory, at: number * Self.blockBytes)
    }
  }

  /// Brings all bytes so far, which have no gap, to the device; the file goes on.
  /// - Throws: `FILE-003`.
  public func settle() throws(Fault) {
    for (number, block) in open.sorted(by: { $0.key < $1.key }) {
      try file.write(
        UnsafeRawBufferPointer(rebasing: block.memory.bytes[..<block.filled]),
        at: number * Self.blockBytes)
    }
    try queue.drain()
    try file.sync()
  }
}
