import Support

/// Seconds of one call of something, measured many times.
///
/// On a machine that others use too, the slower half says what they did: the figure is the median of
/// the better half.
struct Timing {
  /// Ascending.
  let samples: [Double]

  /// - Parameters:
  ///   - seconds: how long to go on; fast bodies are called several times per sample.
  ///   - repeats: fewest samples.
  init(seconds: Double, repeats: Int, usesProcessorTime: Bool, _ body: () -> Void) {
    let now = { usesProcessorTime ? Clock.processorSeconds() : Clock.monotonicSeconds() }
    let begin = now()
    body()
    let first = now() - begin
    // The clocks tick in microseconds at worst.
    let calls = max(1, min(10_000, Int(1e-3 / max(first, 1e-7))))
    var samples: [Double] = []
    let start = Clock.monotonicSeconds()
    while samples.count < repeats || Clock.monotonicSeconds() - start < seconds {
      let before = now()
      for _ in 0..<calls { body() }
      samples.append((now() - before) / Double(calls))
    }
    self.init(samples)
  }

  init(_ samples: [Double]) { self.samples = samples.sorted() }

  /// The median of the better half.
  var median: Double { samples[(samples.count + 1) / 2 / 2] }
  var fastest: Double { samples[0] }
  var slowest: Double { samples[samples.count - 1] }

  /// How far the better half lies apart, as a part of its median.
  var spread: Double { (samples[(samples.count - 1) / 2] - fastest) / max(median, 1e-12) }
}
