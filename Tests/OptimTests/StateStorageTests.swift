import Support
import Tensor
import Testing

@testable import Optim

@Suite struct StateStorageTests {
  private let engine: Engine
  init() throws { engine = try Engine() }

  @Test("bf16 weight and remainder hold the stored fp32 words bit for bit")
  func remainder() throws {
    let stored = try Reference.tensors("lowprec_states")
    let words = try stored.int64("split.fp32_bits").map {
      Float(bitPattern: UInt32(truncatingIfNeeded: $0))
    }
    var high = [UInt16](repeating: 0, count: words.count)
    var low = [Int16](repeating: 0, count: words.count)
    var back = [Float](repeating: 0, count: words.count)
    let codec = ScaledCodec(engine: engine)
    codec.split(words, words.count, weight: &high, remainder: &low)
    codec.join(high, low, words.count, into: &back)
    #expect(words.count == 423)
    #expect(try high.map(Int32.init) == stored.int32("split.weight_bf16_bits"))
    #expect(try low == stored.int16("split.remainder"))
    #expect(bits(back) == bits(words))
  }

  @Test(
    "Scaled moments are stored and read with the bits of the storage rule",
    arguments: ["plain", "tiny", "huge", "zeros", "wide"], [StateType.float16, .float8])
  func scaledMoments(name: String, type: StateType) throws {
    let stored = try Reference.tensors("lowprec_states")
    let values = try stored.floats("state.\(name).value")
    let n = values.count
    let top = try #require(type.top)
    let codec = ScaledCodec(engine: engine)
    let scale = ScaledCodec.scale(largest: codec.largest(values, n), top: top)
    let key = "state.\(name).\(type.rawValue)"
    #expect(try [scale] == stored.floats("\(key).scale"))
    var memory = [UInt8](repeating: 0xAA, count: n * type.size)
    var loaded = [Float](repeating: .nan, count: n)
    memory.withUnsafeMutableBytes { memory in
      codec.store(values, n, as: type, scale: scale, into: memory.baseAddress!)
      codec.load(memory.baseAddress!, n, as: type, scale: scale, into: &loaded)
    }
    let words = memory.withUnsafeBytes { memory in
      type == .float8
        ? memory.map { Int32($0) } : memory.bindMemory(to: Int16.self).map { Int32($0) }
    }
    #expect(try words == stored.int32("\(key).stored_bits"))
    #expect(try bits(loaded) == bits(stored.floats("\(key).loaded")))
  }

  @Test("bf16 moments are plainly rounded", arguments: ["plain", "tiny", "huge", "zeros", "wide"])
  func plainMoments(name: String) throws {
    let stored = try Reference.tensors("lowprec_states")
    let values = try stored.floats("state.\(name).value")
    let codec = ScaledCodec(engine: engine)
    var memory = [UInt16](repeating: 0, count: values.count)
    var loaded = [Float](repeating: .nan, count: values.count)
    memory.withUnsafeMutableBytes { memory in
      codec.store(values, values.count, as: .bfloat16, scale: 0, into: memory.baseAddress!)
      codec.load(memory.baseAddress!, values.count, as: .bfloat16, scale: 0, into: &loaded)
    }
    #expect(try bits(loaded) == bits(stored.floats("state.\(name).bf16.loaded")))
  }

  @Test("A scale without a finite reciprocal stores zeros")
  func hopelessScale() {
    #expect(ScaledCodec.scale(largest: 0, top: 448) == 0)
    #expect(ScaledCodec.scale(largest: 1e-38, top: 448) == 0)
    #expect(ScaledCodec.scale(largest: 448, top: 448) == 1)
  }
}
