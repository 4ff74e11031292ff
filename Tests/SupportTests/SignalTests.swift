import Foundation
import Testing

@testable import Support

/// Signals belong to the process, so these run one after another.
@Suite("Signals", .serialized)
struct SignalTests {
  /// Sends a signal to the process (threads of a test may block it) and waits until it arrived.
  private func send(_ number: Int32) {
    let before = SignalFlags.current
    kill(getpid(), number)
    let limit = Clock.monotonicSeconds() + 10
    while SignalFlags.current == before, Clock.monotonicSeconds() < limit { usleep(1000) }
  }

  @Test("USR1 and CONT ask for a save, which is taken once")
  func save() {
    SignalFlags.install()
    SignalFlags.reset()
    #expect(SignalFlags.current == [])
    send(SIGUSR1)
    #expect(SignalFlags.take() == .save && SignalFlags.take() == [])
    send(SIGCONT)
    #expect(SignalFlags.take() == .save)
  }

  @Test("USR2 asks for a report, beside a save")
  func report() {
    SignalFlags.install()
    SignalFlags.reset()
    send(SIGUSR2)
    send(SIGUSR1)
    #expect(SignalFlags.take() == [.save, .report])
  }

  @Test("TERM, INT and XCPU ask to stop, and that stays; a second one is urgent")
  func stop() {
    SignalFlags.install()
    for first in [SIGTERM, SIGINT, SIGXCPU] {
      SignalFlags.reset()
      send(first)
      #expect(SignalFlags.take() == .stop && SignalFlags.take() == .stop)
      send(SIGTERM)
      #expect(SignalFlags.take() == [.stop, .stopNow])
    }
    SignalFlags.reset()
  }

  @Test("writing to a pipe nobody reads is an error and not the end")
  func brokenPipe() throws {
    SignalFlags.install()
    let pipe = Pipe()
    try pipe.fileHandleForReading.close()
    let descriptor = pipe.fileHandleForWriting.fileDescriptor
    #expect(Terminal.writeAll([1], to: descriptor) == EPIPE)
  }

  @Test("after a signal, a reader that takes no more does not hold the writer")
  func idleReader() throws {
    SignalFlags.install()
    SignalFlags.reset()
    #expect(SignalFlags.secondsSinceNewest == .infinity)
    send(SIGCONT)
    #expect(SignalFlags.secondsSinceNewest < 60)
    let pipe = Pipe()
    let descriptor = pipe.fileHandleForWriting.fileDescriptor
    let before = fcntl(descriptor, F_GETFL)
    let line = [UInt8](repeating: 65, count: 1000)
    var taken = 0
    while taken < 10_000, Terminal.offer(line, to: descriptor, patience: 0.01) == nil { taken += 1 }
    #expect(taken > 0 && taken < 10_000)
    #expect(Terminal.offer(line, to: descriptor, patience: 0.01) == EAGAIN)
    #expect(fcntl(descriptor, F_GETFL) == before)
    _ = try pipe.fileHandleForReading.read(upToCount: 50_000)
    #expect(Terminal.offer(line, to: descriptor, patience: 0.01) == nil)
    SignalFlags.reset()
  }
}
