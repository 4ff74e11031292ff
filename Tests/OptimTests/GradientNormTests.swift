import Parallel
import Support
import Tensor
import Testing

@testable import Optim

@Suite struct GradientNormTests {
  /// The norm that two or more ranks find whose gradients are `grads` (each counts).
  private func norm(
    _ grads: [[Float]], counts: [Bool]? = nil, threads: Int = 1
  ) throws -> [Double] {
    try ThreadWorld.run(ranks: grads.count) { world in
      let engine = try Engine(threads: threads)
      let mine = grads[world.rank]
      let parameter = try Parameter("w", .whole([mine.count]), .float32, on: engine)
      let alone = SelfWorld()
      let item = OptimizedParameter(parameter, countsInNorm: counts?[world.rank] ?? true)
      let layout = BufferLayout(counts: [mine.count], groupSize: 1, isSharded: true)
      let buffer = try GradientBuffer(
        [item], indices: [0], group: alone, layout: layout, gradientType: .float32,
        engine: engine)
      for (i, g) in mine.enumerated() { buffer.flat.floats[i] = g }
      return try GradientNorm(buffers: [buffer], world: world).norm()
    }
  }

  @Test("Stored gradients on two ranks give the reference's norm, the same on both")
  func storedNorms() throws {
    let rows = try #require(Reference.json("optimizer")["clip"]?.array)
    #expect(rows.count == 8)
    for row in rows {
      let grads = try #require(row["grads"]?.array).map {
        $0.array?.compactMap(\.double).map { Float($0) } ?? []
      }
      let norms = try norm(grads)
      let wanted = try #require(row["norm"]?.double)
      #expect(norms[0] == norms[1])
      #expect(abs(norms[0] - wanted) <= 1e-6 * wanted)
    }
  }

  @Test("However elements are cut over ranks, ordered and threaded, the norm has the same bits")
  func orderFree() throws {
    var random = TestRandom(seed: 3)
    for exponent in [0, -140, 120] {
      let scale = Float(sign: .plus, exponent: exponent, significand: 1)
      let values = (0..<5_000).map { _ in random.unit() * scale * random.unit() }
      let whole = try norm([values])[0]
      #expect(try norm([values], threads: 2)[0] == whole)
      #expect(try norm([values.reversed()])[0] == whole)
      for cut in [1, 17, 4_000] {
        #expect(
          try norm([Array(values[..<cut]), Array(values[cut...])]) == [whole, whole])
      }
      let exact = values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
      #expect(abs(whole - exact) <= 1e-9 * exact)
    }
  }

  @Test("Copies of a weight on other ranks are looked at but not counted")
  func copies() throws {
    #expect(try norm([[3, 4], [3, 4]], counts: [true, false]) == [5, 5])
    #expect(try norm([[3, 4], [.nan, 4]], counts: [true, false]).allSatisfy { $0.isNaN })
  }

  @Test("NaN and infinity are seen by all ranks, whichever rank has them")
  func nonFinite() throws {
    #expect(try norm([[1, 2], [.nan, .infinity]]).allSatisfy { $0.isNaN })
    #expect(try norm([[1, -.infinity], [1, 2]]).allSatisfy { $0.isInfinite })
    #expect(try norm([[0, 0], [0, 0]]) == [0, 0])
  }

  @Test("Squares that would overflow a float do not overflow the norm")
  func hugeGradients() throws {
    let norms = try norm([[3e38, 0], [0, 3e38]])
    let wanted = Double(Float(3e38)) * 2.0.squareRoot()
    #expect(abs(norms[0] / wanted - 1) < 1e-9)
  }
}
