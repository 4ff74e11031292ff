import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Ctrl-C at a terminal as a flag that ends an answer and not the program.
public enum InterruptFlag {
  /// A signal handler can reach nothing but a global, and an atomic constant is the only global it
  /// may touch.
  private static let pending = Atomic<Bool>(false)

  /// From now on an interrupt only sets the flag; reading from the terminal goes on.
  public static func install() {
    _ = pending.load(ordering: .relaxed)
    signal(SIGINT) { _ in InterruptFlag.pending.store(true, ordering: .relaxed) }
  }

  /// Takes the interrupt, if there was one.
  public static func take() -> Bool { pending.exchange(false, ordering: .relaxed) }
}
