import Foundation

/// Fills `[t, d/2]` tables of angles. The frequency and the angle are rounded to fp32 as in the
/// reference; the functions are evaluated in double precision.
struct RotaryTable {
  private let frequencies: [Float]
  private let amplitude: Float
  /// Packed rows repeat positions: each is computed once. Cosines, then sines.
  private var known: [Int32: [Float]] = [:]
  private var half: Int { frequencies.count }

  init(theta: Double, half: Int, scaling: RotaryScaling? = nil) {
    let plain = (0..<half).map { j in pow(theta, -Double(2 * j) / Double(2 * half)) }
    frequencies = (scaling?.frequencies(plain, theta: theta) ?? plain).map { Float($0) }
    amplitude = Float(scaling?.amplitude ?? 1)
  }

  private mutating func row(_ position: Int32) -> [Float] {
    if let row = known[position] { return row }
    let angles = frequencies.map { Double(Float(position) * $0) }
    let row =
      angles.map { Float(cos($0)) * amplitude } + angles.map { Float(sin($0)) * amplitude }
    known[position] = row
    return row
  }

  mutating func fill(
    _ positions: [Int32], cos: UnsafeMutableBufferPointer<Float>,
    sin: UnsafeMutableBufferPointer<Float>
  ) {
    for (t, position) in positions.enumerated() {
      let row = row(position)
      for j in 0..<half {
        cos[t * half + j] = row[j]
        sin[t * half + j] = row[half + j]
      }
    }
  }

  /// Interleaved axes: frequency j turns with the height if j mod 3 is 1 and j < 3 · sections[1], with
  /// the width if j mod 3 is 2 and j < 3 · sections[2], else with the time.
  /// - Source: model.md 3 (Qwen3-VL as published).
  mutating func fill(
    _ axes: AxisPositions, sections: [Int], cos: UnsafeMutableBufferPointer<Float>,
    sin: UnsafeMutableBufferPointer<Float>
  ) {
    for t in 0..<axes.count {
      let rows = [row(axes.time[t]), row(axes.height[t]), row(axes.width[t])]
      for j in 0..<half {
        let axis = j % 3
        let row = rows[j < 3 * sections[axis] ? axis : 0]
        cos[t * half + j] = row[j]
        sin[t * half + j] = row[half + j]
      }
    }
  }
}
