import Foundation

/// Fills `[t, d/2]` tables. The frequency and the angle are rounded to fp32 as in the reference;
/// the functions are evaluated in double precision.
func fillAngles(
  _ positions: [Int32], theta: Double, cos: UnsafeMutableBufferPointer<Float>,
  sin: UnsafeMutableBufferPointer<Float>
) {
  guard !positions.isEmpty else { return }
  let half = cos.count / positions.count
  let frequencies = (0..<half).map { j in Float(pow(theta, -Double(2 * j) / Double(2 * half))) }
  // Packed rows repeat positions: each is computed once.
  var firstRow: [Int32: Int] = [:]
  for (t, position) in positions.enumerated() {
    if let known = firstRow[position] {
      for j in 0..<half {
        cos[t * half + j] = cos[known * half + j]
        sin[t * half + j] = sin[known * half + j]
      }
      continue
    }
    firstRow[position] = t
    for j in 0..<half {
      let angle = Double(Float(position) * frequencies[j])
      cos[t * half + j] = Float(Foundation.cos(angle))
      sin[t * half + j] = Float(Foundation.sin(angle))
    }
  }
}
