import Support
import Testing

@testable import Optim

/// Options of a stored run.
private func options(_ run: JSONValue) throws -> ScheduleOptions? {
  guard let style = LearningRateStyle(rawValue: try #require(run["style"]?.string)) else {
    return nil
  }
  var o = ScheduleOptions(
    learningRate: try #require(run["args_lr"]?.double ?? run["lr"]?.double),
    trainIterations: try #require(run["train_iters"]?.int),
    globalBatchSize: try #require(run["gbs"]?.int))
  o.style = style
  o.minimum = run["min_lr"]?.double ?? 0
  o.warmupInit = run["lr_warmup_init"]?.double ?? 0
  o.warmupIterations = run["lr_warmup_iters"]?.int ?? 0
  o.warmupFraction = run["lr_warmup_fraction"]?.double
  o.decayIterations = run["lr_decay_iters"]?.int
  o.stableDecayIterations = run["lr_wsd_decay_iters"]?.int
  o.stableDecayStyle = StableDecayStyle(rawValue: run["wsd_style"]?.string ?? "") ?? .exponential
  o.weightDecayStyle = WeightDecayStyle(rawValue: run["wd_style"]?.string ?? "") ?? .constant
  o.startWeightDecay = run["start_wd"]?.double ?? 0.1
  o.endWeightDecay = run["end_wd"]?.double ?? 0.1
  return o
}

private func isClose(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-12 * abs(b) }

@Suite struct ScheduleTests {
  @Test("Every stored run gives the reference's rates, weight decays and state")
  func storedRuns() throws {
    let runs = try #require(Reference.json("lr")["cases"]?.array)
    #expect(runs.count == 36)
    for run in runs {
      let schedule = try Schedule(#require(try options(run)))
      let batch = schedule.options.globalBatchSize
      let scale = run["lr_mult"]?.double ?? 0.5
      let rates = try #require(run["lr"]?.array).map { $0.double ?? .nan }
      let scaled = try #require(run["lr_of_scaled_group"]?.array).map { $0.double ?? .nan }
      let decays = try #require(run["weight_decay"]?.array).map { $0.double ?? .nan }
      for j in rates.indices {
        #expect(isClose(schedule.learningRate(samples: j * batch), rates[j]), "\(run) step \(j)")
        #expect(isClose(schedule.learningRate(samples: j * batch, scale: scale), scaled[j]))
        #expect(isClose(schedule.weightDecay(samples: j * batch), decays[j]))
      }
      let state = try #require(run["state"]?.object)
      let samples = try #require(state["num_steps"]?.int)
      #expect(
        schedule.state(samples: samples).keys == [
          "max_lr", "lr_warmup_steps", "num_steps", "lr_decay_style", "lr_decay_steps", "min_lr",
          "start_wd", "end_wd", "wd_incr_style", "wd_incr_steps",
        ])
      #expect(try schedule.samples(from: state) == samples)
    }
  }

  @Test("What the reference refuses is refused with the flag's name")
  func limits() throws {
    for run in try #require(Reference.json("lr")["limits"]?.array) {
      guard let o = try options(run) else { continue }  // a style that does not parse
      let isRefused = run["rejected"]?.string != nil
      do {
        let schedule = try Schedule(o)
        #expect(!isRefused, "\(run) was taken")
        #expect(schedule.learningRate(samples: 20) == run["lr_after_10"]?.double)
      } catch {
        #expect(isRefused, "\(run): \(error)")
        #expect(error.code == .scheduleRefused)
        #expect(error.place != nil)
      }
    }
  }

  @Test("Nonsense lengths and rates are refused, not computed with")
  func nonsense() {
    func refuses(_ change: (inout ScheduleOptions) -> Void) -> Bool {
      var o = ScheduleOptions(learningRate: 1e-4, trainIterations: 10, globalBatchSize: 2)
      change(&o)
      return (try? Schedule(o)) == nil
    }
    #expect(!refuses { _ in })
    #expect(refuses { $0.learningRate = .nan })
    #expect(refuses { $0.trainIterations = 0 })
    #expect(refuses { $0.globalBatchSize = .max })
    #expect(refuses { $0.warmupFraction = .nan })
    #expect(refuses { $0.warmupFraction = -0.1 })
    #expect(
      refuses {
        $0.warmupFraction = 0.1; $0.warmupIterations = 1
      })
    #expect(refuses { $0.decayIterations = 0 })
    #expect(
      refuses {
        $0.endWeightDecay = .infinity; $0.weightDecayStyle = .linear
      })
  }

  @Test(
    "After the warmup no style leaves the range between floor and peak, before or after the end",
    arguments: LearningRateStyle.allCases, StableDecayStyle.allCases)
  func bounds(style: LearningRateStyle, stable: StableDecayStyle) throws {
    var o = ScheduleOptions(learningRate: 3e-4, trainIterations: 20, globalBatchSize: 3)
    o.minimum = 1e-5
    o.warmupIterations = 4
    o.style = style
    o.stableDecayStyle = stable
    o.stableDecayIterations = 9
    let schedule = try Schedule(o)
    #expect(schedule.learningRate(samples: 0) == 0)
    #expect(schedule.learningRate(samples: 12) == o.learningRate)
    for x in 12...100 {
      let rate = schedule.learningRate(samples: x)
      #expect(rate >= o.minimum && rate <= o.learningRate)
    }
    let end = style == .constant ? o.learningRate : o.minimum
    #expect(schedule.learningRate(samples: 61) == end)
  }

  @Test("A resumed run with another schedule is refused with the name of the value")
  func differingState() throws {
    var o = ScheduleOptions(learningRate: 1e-4, trainIterations: 10, globalBatchSize: 2)
    let saved = try Schedule(o).state(samples: 8)
    o.minimum = 1e-6
    let other = try Schedule(o)
    let fault = #expect(throws: Fault.self) { _ = try other.samples(from: saved) }
    #expect(fault?.code == .scheduleDiffers)
    #expect(fault?.message.contains("min_lr") == true)
  }

  @Test("a stored record of another kind is refused by the key that is wrong")
  func badRecord() throws {
    let schedule = try Schedule(
      ScheduleOptions(learningRate: 1e-3, trainIterations: 10, globalBatchSize: 4))
    let good = schedule.state(samples: 0)
    #expect(try schedule.taking(good) == schedule)
    for key in good.keys where key != "num_steps" {
      var bad = good
      bad[key] = .string("zigzag")
      let fault = try #require(throws: Fault.self) { try schedule.taking(bad) }
      #expect(fault.code == .stateMismatch && fault.message.contains(key), "\(key)")
    }
  }
}
