/// The memory that one thread moves tensors through. It grows to what was asked for once and is used
/// again; a block is good until the next one of its kind is asked for.
public final class StreamMemory {
  /// Bytes of a transfer from a file, where nothing else is asked for.
  public static let transferBytes = 4 << 20

  private enum Kind: Int { case transfer, gathered, turned, assembled }
  private var blocks: [AlignedBlock?] = [nil, nil, nil, nil]

  public init() {}

  private func block(_ kind: Kind, _ count: Int) -> AlignedBlock {
    if let block = blocks[kind.rawValue], block.bytes.count >= count { return block }
    // The old one goes first: the two are not needed together.
    blocks[kind.rawValue] = nil
    let block = AlignedBlock(AlignedBlock.up(count))
    blocks[kind.rawValue] = block
    return block
  }

  /// Where bytes of a file arrive.
  /// - Parameter count: bytes that must come in one part; nil for as many as are good for the device.
  public func transfer(holding count: Int? = nil) -> AlignedBlock {
    // The begin of the bytes may lie anywhere in the first unit.
    block(.transfer, max(count ?? 0, Self.transferBytes) + 2 * AlignedBlock.unit)
  }

  /// Room for `count` bytes that arrive in pieces.
  public func gathered(_ count: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: block(.gathered, count).bytes[..<count])
  }

  /// Room for `count` bytes of a matrix that a source hands on with rows and columns exchanged.
  public func turned(_ count: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: block(.turned, count).bytes[..<count])
  }

  /// Room for `count` bytes that are made of what a source hands on.
  public func assembled(_ count: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: block(.assembled, count).bytes[..<count])
  }
}
