import Support
import Testing

@testable import Optim

@Suite struct LossScalerTests {
  @Test("Stored overflow histories give the reference's scale after every step")
  func storedHistories() throws {
    let runs = try #require(Reference.json("optimizer")["loss_scale"]?.array)
    #expect(runs.count == 4)
    for run in runs {
      var options = LossScaler.Options()
      options.initial = try #require(run["initial"]?.double)
      options.minimum = try #require(run["min"]?.double)
      options.growthFactor = try #require(run["growth"]?.double)
      options.backoffFactor = try #require(run["backoff"]?.double)
      options.growthInterval = try #require(run["interval"]?.int)
      options.hysteresis = try #require(run["hysteresis"]?.int)
      var scaler = LossScaler(options)
      let scales = try #require(run["overflow"]?.array).map { flag in
        scaler.update(overflow: flag.int == 1)
        return scaler.scale
      }
      #expect(scales == run["scale_after"]?.array?.compactMap(\.double))
    }
  }

  @Test("A fixed scale never moves")
  func fixedScale() {
    var scaler = LossScaler(fixed: 128)
    for overflow in [true, true, true, false] { scaler.update(overflow: overflow) }
    #expect(scaler.scale == 128)
  }

  @Test("A restored scaler goes on as the saved one")
  func restore() {
    var options = LossScaler.Options()
    options.growthInterval = 3
    var first = LossScaler(options)
    for overflow in [true, false, true, false, false] { first.update(overflow: overflow) }
    var second = LossScaler(options)
    second.restore(
      scale: first.scale, growthTracker: first.growthTracker,
      hysteresisTracker: first.hysteresisTracker)
    for overflow in [false, true, true, false, false, false] {
      first.update(overflow: overflow)
      second.update(overflow: overflow)
      #expect(first == second)
    }
  }
}
