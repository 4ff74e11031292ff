import Testing

@testable import DataPipeline
@testable import Support

@Suite struct Samplers {
  @Test("Too few rows for one step are refused with the numbers")
  func tooFew() {
    let fault = #expect(throws: Fault.self) {
      try SamplerLayout(kind: .cyclic, rows: 7, microBatchSize: 2, dataParallelSize: 4)
    }
    #expect(fault?.code == .badSampler && fault?.expected?.contains("2 × 4") == true)
  }

  @Test("A global batch that is no multiple of the step batch is refused")
  func globalBatch() throws {
    let layout = try SamplerLayout(
      kind: .single, rows: 20, microBatchSize: 2, dataParallelSize: 2)
    let fault = #expect(throws: Fault.self) {
      try TrainingSchedule(layout: layout, globalBatchSize: 6, maxEpochs: 1)
    }
    #expect(
      fault?.message
        == "global_batch_size 6 is no multiple of micro_batch_size 2 × data-parallel size 2")
  }

  @Test("In an epoch all ranks together use each usable row once", arguments: [true, false])
  func epoch(sharding: Bool) throws {
    let layout = try SamplerLayout(
      kind: .cyclic, rows: 34, microBatchSize: 2, dataParallelSize: 3, dataSharding: sharding)
    let order = layout.permutation(epoch: 1)
    var seen: [Int] = []
    for index in 0..<layout.microBatchesPerEpoch {
      for rank in 0..<3 { seen += layout.rows(microBatch: index, rank: rank, permutation: order) }
    }
    #expect(Set(seen).count == seen.count && seen.count == layout.usableRows)
  }

  @Test("A state goes through a checkpoint unchanged, and a broken one is refused")
  func state() throws {
    for state in [SamplerState(consumed: 12, epoch: 1, rows: 10), SamplerState(consumed: 4)] {
      #expect(try SamplerState(json: state.json) == state)
    }
    #expect(throws: Fault.self) { try SamplerState(json: .string("x")) }
    #expect(throws: Fault.self) { try SamplerState(json: JSONValue.parse(#"{"epoch": 1}"#)) }
  }
}
