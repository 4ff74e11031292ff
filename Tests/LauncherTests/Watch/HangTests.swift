import Testing

@testable import Launcher

@Suite struct HangTests {
  @Test("a given limit counts from the last progress, which a collective is too")
  func givenLimit() {
    var clock = HangClock(limit: 5, now: 0)
    #expect(!clock.isHanging(4.9) && clock.isHanging(5.1))
    clock.look(operations: 1, 5.2)
    #expect(!clock.isHanging(10.1) && clock.isHanging(10.3))
    clock.look(operations: 1, 10.3)
    #expect(clock.isHanging(10.3))
    clock.stepEnded(10.4)
    #expect(!clock.isHanging(15.3) && clock.isHanging(15.5))
  }

  @Test("without a limit 20 median steps are waited, never less than 60 s, and for ever at first")
  func derivedLimit() {
    var clock = HangClock(limit: nil, now: 0)
    #expect(!clock.isHanging(1e6))
    for step in 1...3 { clock.stepEnded(1e6 + Double(step)) }
    #expect(clock.patience == 60)
    for step in 1...9 { clock.stepEnded(1e6 + 3 + 10 * Double(step)) }
    #expect(clock.patience == 200)
  }

  @Test("a long write is no hang")
  func pauses() {
    var clock = HangClock(limit: 5, now: 0)
    clock.pause(1)
    clock.look(operations: 0, 1000)
    #expect(!clock.isHanging(1000))
    clock.resume(1000)
    #expect(!clock.isHanging(1004) && clock.isHanging(1006))
  }

  @Test("a limit of 0 waits for ever")
  func never() {
    #expect(!HangClock(limit: 0, now: 0).isHanging(1e9))
  }

  @Test("the message names who waits for whom in what")
  func message() {
    let waiting = RankState(
      operation: "all-reduce on tp (call 7)", isWaiting: true, seconds: 5.25)
    let busy = RankState(operation: "barrier on dp (call 6)", isWaiting: false, seconds: 5.25)
    let text = HangReport.fault([waiting, busy]).description
    #expect(text.contains("the others wait for rank 1"))
    #expect(text.contains("rank 0 waits in all-reduce on tp (call 7)"))
    #expect(text.contains("rank 1 is between collectives"))
    #expect(HangReport.fault([waiting, nil]).description.contains("rank 1 does not answer"))
    #expect(HangReport.fault([waiting, waiting]).description.contains("all ranks wait"))
    #expect(HangReport.fault([waiting, nil]).code.exit == .communication)
  }

  @Test("a state survives the file it travels in")
  func travel() {
    let state = RankState(operation: "split on \"x\"", isWaiting: true, seconds: 1.5)
    #expect(RankState(text: state.text) == state)
    #expect(RankState(text: "{") == nil)
  }
}
