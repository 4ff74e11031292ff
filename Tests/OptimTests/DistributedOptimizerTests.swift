import Parallel
import Support
import Tensor
import Testing

@testable import Optim

private func precisionAware(_ type: StateType = .float32) -> OptimizerOptions {
  var options = OptimizerOptions()
  options.isPrecisionAware = true
  options.firstMomentType = type
  options.secondMomentType = type
  return options
}

@Suite struct DistributedOptimizerTests {
  @Test(
    "With canonical chunks every data-parallel size gives the same bits", arguments: [8, 12, 24])
  func canonicalChunks(microBatches: Int) throws {
    var rig = TrainingRig()
    rig.microBatches = microBatches
    rig.options.canonicalChunks = 4
    let alone = try rig.run()
    #expect(alone[0].results.allSatisfy { !$0.isSkipped && $0.clipFactor < 1 })
    for ranks in [2, 4] {
      rig.ranks = ranks
      let many = try rig.run()
      for outcome in many {
        #expect(outcome.results == alone[0].results)
        #expect(outcome.weights.map(bits) == alone[0].weights.map(bits))
      }
      #expect(many.wholeStates.mapValues(bits) == alone.wholeStates.mapValues(bits))
    }
  }

  @Test("Eight chunks on 1, 2, 4 and 8 ranks give the same bits, with bf16 weights too")
  func eightChunks() throws {
    var rig = TrainingRig()
    rig.dtype = .bfloat16
    rig.steps = 2
    rig.options.canonicalChunks = 8
    let alone = try rig.run()
    for ranks in [2, 4, 8] {
      rig.ranks = ranks
      let many = try rig.run()
      #expect(many.allSatisfy { $0.weights.map(bits) == alone[0].weights.map(bits) })
      #expect(many.wholeStates.mapValues(bits) == alone.wholeStates.mapValues(bits))
    }
  }

  @Test("One chunk gives other bits on two ranks, so the equality above is not by chance")
  func oneChunkDiffers() throws {
    var rig = TrainingRig()
    let alone = try rig.run()
    rig.ranks = 2
    let two = try rig.run()
    #expect(two[0].weights.map(bits) != alone[0].weights.map(bits))
    for (a, b) in zip(two[0].weights, alone[0].weights) {
      #expect(largestError(a, b, floor: 0.1) < 1e-5)
    }
  }

  @Test("The distributed optimizer on and off give the same bits", arguments: [1, 2, 3, 4])
  func shardedOrNot(ranks: Int) throws {
    var rig = TrainingRig()
    rig.microBatches = 12
    rig.ranks = ranks
    let sharded = try rig.run()
    rig.options.isDistributed = false
    let whole = try rig.run()
    #expect(sharded[0].results == whole[0].results)
    for (a, b) in zip(sharded, whole) { #expect(a.weights.map(bits) == b.weights.map(bits)) }
    #expect(sharded.wholeStates.mapValues(bits) == [whole[0]].wholeStates.mapValues(bits))
    #expect(ranks == 1 || sharded[0].bytes.near < whole[0].bytes.near)
  }

  @Test("bf16 exchange rounds each rank's summand once and adds in fp32", arguments: [2, 3, 4])
  func roundedExchange(ranks: Int) throws {
    var rig = TrainingRig()
    rig.ranks = ranks
    rig.microBatches = ranks
    rig.options.bucketSize = 100
    rig.options.exchangeType = .bfloat16
    let rounded = try rig.run()
    rig.options.exchangeType = .float32
    let exact = try rig.run()
    rig.rounding = { BF16($0).float }
    let expected = try rig.run()
    #expect(rounded.map { $0.weights.map(bits) } == expected.map { $0.weights.map(bits) })
    #expect(rounded.map { $0.weights.map(bits) } != exact.map { $0.weights.map(bits) })
  }

  @Test("bf16 exchange without sharding leaves equal weights on all ranks", arguments: [2, 3])
  func roundedExchangeWhole(ranks: Int) throws {
    var rig = TrainingRig()
    rig.ranks = ranks
    rig.microBatches = 2 * ranks
    let exact = try rig.run()
    rig.options.isDistributed = false
    rig.options.exchangeType = .bfloat16
    let rounded = try rig.run()
    for outcome in rounded { #expect(outcome.weights.map(bits) == rounded[0].weights.map(bits)) }
    // Adam's step is at most about the rate, whatever a rounded gradient does to it.
    for (a, b) in zip(rounded[0].weights, exact[0].weights) {
      #expect(largestError(a, b, floor: 1) < 0.05)
    }
    #expect(rounded[0].weights.map(bits) != exact[0].weights.map(bits))
  }

  @Test("Buckets and threads change nothing")
  func bucketsAndThreads() throws {
    var rig = TrainingRig()
    rig.ranks = 2
    let plain = try rig.run()
    rig.options.bucketSize = 100
    rig.threads = 2
    let bucketed = try rig.run()
    #expect(bucketed.map(\.results) == plain.map(\.results))
    #expect(bucketed.map { $0.weights.map(bits) } == plain.map { $0.weights.map(bits) })
  }

  @Test("Remainder and bf16 weight are the fp32 master of a plain run, bit for bit")
  func remainderIsExact() throws {
    var rig = TrainingRig()
    rig.dtype = .bfloat16
    rig.ranks = 2
    rig.steps = 5
    let plain = try rig.run().wholeStates
    rig.options = precisionAware()
    let split = try rig.run()
    #expect(split.wholeStates.mapValues(bits) == plain.mapValues(bits))
    #expect(split[0].bytes.near > 0)
  }

  @Test("Moments in fewer bits train near the plain run", arguments: StateType.allCases)
  func momentTypes(type: StateType) throws {
    var rig = TrainingRig()
    rig.steps = 4
    rig.learningRate = 1e-3
    let plain = try rig.run()[0].weights
    rig.options = precisionAware(type)
    let low = try rig.run()[0].weights
    for (a, b) in zip(low, plain) { #expect(largestError(a, b, floor: 1) < 4e-3) }
    #expect((low.map(bits) == plain.map(bits)) == (type == .float32))
  }

  @Test(
    "After one step the moments are those of a plain run, stored and read by the storage rule",
    arguments: StateType.allCases)
  func storedMoments(type: StateType) throws {
    var rig = TrainingRig()
    rig.steps = 1
    let plain = try rig.run()[0].states
    rig.options = precisionAware(type)
    let low = try rig.run()[0].states
    let codec = ScaledCodec(engine: try Engine())
    for (key, values) in plain where key.hasPrefix("exp_avg") {
      let n = values.count
      let scale = type.top.map {
        ScaledCodec.scale(largest: codec.largest(values, n), top: $0)
      }
      var memory = [UInt8](repeating: 0, count: n * type.size)
      var loaded = [Float](repeating: .nan, count: n)
      memory.withUnsafeMutableBytes { memory in
        codec.store(values, n, as: type, scale: scale ?? 0, into: memory.baseAddress!)
        codec.load(memory.baseAddress!, n, as: type, scale: scale ?? 0, into: &loaded)
      }
      #expect(low[key].map(bits) == bits(loaded), "\(key)")
    }
  }

  @Test("Stored moments carry over from step to step", arguments: StateType.allCases)
  func carriedMoments(type: StateType) throws {
    var rig = TrainingRig()
    rig.steps = 5
    let plain = try rig.run()[0].states
    rig.options = precisionAware(type)
    let low = try rig.run()[0].states
    for (key, values) in plain where key.hasPrefix("exp_avg") {
      let largest = values.reduce(0) { max($0, abs($1)) }
      #expect(largestError(low[key] ?? [], values, floor: largest) < 0.1, "\(key)")
    }
  }

  @Test("An fp16 master loses bits but follows the plain run")
  func halfMaster() throws {
    var rig = TrainingRig()
    rig.dtype = .bfloat16
    let plain = try rig.run()[0].weights
    rig.options = precisionAware(.bfloat16)
    rig.options.mainParameterType = .float16
    let half = try rig.run()[0]
    for (a, b) in zip(half.weights, plain) { #expect(largestError(a, b, floor: 1) < 2e-2) }
    for (i, weights) in half.weights.enumerated() {
      let master = try #require(half.states["param layer.\(i).weight 0"])
      #expect(largestError(master, weights, floor: 1) < 1e-2)
    }
    #expect(half.states.keys.contains { $0.hasPrefix("param ") })
  }

  @Test("bf16 main gradients are summed over ranks in fp32 and rounded once")
  func bf16Gradients() throws {
    var rig = TrainingRig()
    rig.learningRate = 1e-3
    rig.ranks = 2
    let plain = try rig.run()[0]
    rig.options = precisionAware()
    rig.options.mainGradientType = .bfloat16
    let low = try rig.run()
    #expect(low[0].results[0].gradientNorm != plain.results[0].gradientNorm)
    #expect(abs(low[0].results[0].gradientNorm / plain.results[0].gradientNorm - 1) < 1e-2)
    #expect(low[0].weights.map(bits) == low[1].weights.map(bits))
    rig.options.isDistributed = true
    #expect(low[0].bytes.gradients * 2 == plain.bytes.gradients)
  }

  @Test("A rate of 0 changes no weight, though moments change")
  func zeroRate() throws {
    var rig = TrainingRig()
    rig.dtype = .bfloat16
    rig.learningRate = 0
    rig.steps = 1
    let outcome = try rig.run()[0]
    let engine = try Engine()
    let initial = try rig.makeParameters(engine).map(\.tensor.values)
    #expect(outcome.weights.map(bits) == initial.map(bits))
    let moments = outcome.states.filter { $0.key.hasPrefix("exp_avg ") }
    #expect(moments.values.contains { $0.contains { $0 != 0 } })
  }

  @Test("Clipping leaves the reported norm alone and applies min(norm, clip)")
  func clipping() throws {
    var rig = TrainingRig()
    rig.steps = 1
    rig.options.rule = .sgd(momentum: 0)
    let clipped = try rig.run()[0]
    rig.clip = 0
    let free = try rig.run()[0]
    let norm = free.results[0].gradientNorm
    #expect(clipped.results[0].gradientNorm == norm && norm > 1)
    #expect(free.results[0].clipFactor == 1)
    #expect(abs(clipped.results[0].clipFactor * norm - 1) < 1e-5)
  }

  @Test("A gradient scale gives the norm and update of scaled gradients")
  func gradientScale() throws {
    var rig = TrainingRig()
    let plain = try rig.run()[0]
    rig.gradientScale = 0.25
    rig.clip = 0.25
    let scaled = try rig.run()[0]
    for (a, b) in zip(scaled.results, plain.results) {
      #expect(a.gradientNorm == b.gradientNorm * 0.25)
    }
  }

  @Test("SGD with momentum steps bf16 weights through an fp32 master on two ranks as on one")
  func sgd() throws {
    var rig = TrainingRig()
    rig.dtype = .bfloat16
    rig.options.rule = .sgd()
    rig.options.canonicalChunks = 2
    let alone = try rig.run()
    rig.ranks = 2
    let two = try rig.run()
    #expect(two.wholeStates.mapValues(bits) == alone.wholeStates.mapValues(bits))
    #expect(two[1].weights.map(bits) == alone[0].weights.map(bits))
    #expect(alone.wholeStates.keys.contains { $0.hasPrefix("momentum_buffer") })
  }

  @Test("Options that exclude each other are refused by the flag's name")
  func refusedOptions() throws {
    func flag(_ change: (inout OptimizerOptions) -> Void) -> Fault.Place? {
      var options = OptimizerOptions()
      change(&options)
      do { try options.validate() } catch { return error.place }
      return nil
    }
    #expect(flag { _ in } == nil)
    #expect(
      flag {
        $0.isPrecisionAware = true; $0.isDistributed = false
      }
        == .flag("use_precision_aware_optimizer"))
    #expect(
      flag {
        $0.isPrecisionAware = true; $0.rule = .sgd()
      }
        == .flag("use_precision_aware_optimizer"))
    #expect(
      flag { $0.offload = OffloadOptions(tier: .folder("/tmp")) } == .flag("optimizer_cpu_offload"))
    #expect(flag { $0.firstMomentType = .float8 } == .flag("exp_avg_dtype"))
    #expect(flag { $0.secondMomentType = .bfloat16 } == .flag("exp_avg_sq_dtype"))
    #expect(flag { $0.mainGradientType = .bfloat16 } == .flag("main_grads_dtype"))
    #expect(
      flag {
        $0.isPrecisionAware = true; $0.mainParameterType = .int8
      }
        == .flag("main_params_dtype"))
    #expect(flag { $0.rule = .adamW(beta1: 1) } == .flag("adam_beta1"))
    #expect(flag { $0.rule = .adamW(epsilon: .nan) } == .flag("adam_eps"))
    #expect(
      flag {
        $0.isPrecisionAware = true
        $0.offload = OffloadOptions(fraction: 1.5, tier: .folder("/tmp"))
      } == .flag("optimizer_offload_fraction"))
  }

  @Test("Chunks that the ranks do not divide are refused")
  func refusedChunks() {
    #expect(throws: Fault.self) { try ChunkTree(chunks: 3, dataParallel: 1) }
    #expect(throws: Fault.self) { try ChunkTree(chunks: 0, dataParallel: 1) }
    #expect(throws: Fault.self) { try ChunkTree(chunks: 4, dataParallel: 8) }
    #expect(throws: Never.self) { try ChunkTree(chunks: 1, dataParallel: 3) }
  }
}
