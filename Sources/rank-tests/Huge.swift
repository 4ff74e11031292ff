import Parallel
import Support

extension Cases {
  /// Every rank sends 2.2·10⁹ bytes to its right neighbour.
  static func huge(_ world: MPIWorld, _ setting: CaseSetting) throws {
    let bytes = 2_200_000_000
    let right = (world.rank + 1) % world.size
    let left = (world.rank + world.size - 1) % world.size
    var sendCounts = [Int](repeating: 0, count: world.size)
    var receiveCounts = sendCounts
    sendCounts[right] = bytes
    receiveCounts[left] = bytes
    let send = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 64)
    let receive = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 64)
    defer {
      send.deallocate()
      receive.deallocate()
    }
    send.initializeMemory(as: UInt8.self, repeating: UInt8(world.rank + 1))
    receive.initializeMemory(as: UInt8.self, repeating: 0)
    send[bytes - 1] = UInt8(world.rank + 101)
    try world.allToAll(
      UnsafeRawBufferPointer(send), sendCounts: sendCounts, into: receive,
      receiveCounts: receiveCounts)
    let isRight =
      receive[0] == UInt8(left + 1) && receive[bytes / 2] == UInt8(left + 1)
      && receive[1 << 31] == UInt8(left + 1) && receive[bytes - 1] == UInt8(left + 101)
    if !isRight { throw CaseFailure(description: "the block is wrong") }
  }
}
