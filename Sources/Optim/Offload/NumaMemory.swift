import Glibc
import Support
import Tensor

/// Memory bound to one NUMA node (HBM next to DDR, a memory expander).
///
/// The binding call lives in libnuma, which is looked for at run time: hosts without it can use
/// everything else.
final class NumaMemory {
  let address: UnsafeMutableRawPointer
  let byteCount: Int
  private typealias Bind =
    @convention(c) (
      UnsafeMutableRawPointer, UInt, CInt, UnsafePointer<UInt>, UInt, UInt32
    ) -> Int

  /// - Throws: `OPTIM-301` in one sentence if this host cannot do it or the node has no room.
  init(_ byteCount: Int, node: Int) throws(Fault) {
    try NumaMemory.check(node, byteCount)
    guard let library = dlopen("libnuma.so.1", RTLD_NOW), let symbol = dlsym(library, "mbind")
    else {
      throw NumaMemory.refusal("libnuma.so.1 is not on this host", "install libnuma")
    }
    self.byteCount = max(byteCount, 1).rounded(upTo: Int(sysconf(Int32(_SC_PAGESIZE))))
    guard
      let memory = mmap(
        nil, self.byteCount, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), memory != MAP_FAILED
    else {
      throw Fault(.outOfMemory, "the system refused \(byteCount) bytes of address space")
    }
    address = memory
    let bindOnly: CInt = 2  // MPOL_BIND
    var mask = [UInt](repeating: 0, count: node / 64 + 1)
    mask[node / 64] = 1 << UInt(node % 64)
    let bind = unsafeBitCast(symbol, to: Bind.self)
    guard bind(memory, UInt(self.byteCount), bindOnly, mask, UInt(mask.count * 64 + 1), 0) == 0
    else {
      let reason = String(cString: strerror(errno))
      munmap(memory, self.byteCount)
      throw NumaMemory.refusal(
        "memory of node \(node) cannot be bound: \(reason)", "use optimizer_offload_dir")
    }
  }

  deinit { munmap(address, byteCount) }

  private static func refusal(_ message: String, _ fix: String) -> Fault {
    Fault(.offloadUnavailable, message, at: .flag("optimizer_offload_numa"), fix: fix)
  }

  /// A node that is there and has room: binding to a full node would end the process instead.
  private static func check(_ node: Int, _ byteCount: Int) throws(Fault) {
    let path = "/sys/devices/system/node/node\(node)/meminfo"
    guard node >= 0, let text = readSmallFile(path) else {
      throw refusal("this host has no NUMA node \(node)", "see numactl --hardware")
    }
    let line = text.split(separator: "\n").first { $0.contains("MemFree:") }
    let words = line?.split(separator: " ") ?? []
    guard words.count >= 2, let free = Int(words[words.count - 2]) else { return }
    guard free * 1024 > byteCount else {
      throw refusal(
        "NUMA node \(node) has \(free) KiB free, the far state needs \(byteCount / 1024) KiB",
        "lower optimizer_offload_fraction")
    }
  }

  private static func readSmallFile(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 16384)
    let count = read(descriptor, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes.prefix(count), as: UTF8.self) : nil
  }
}
