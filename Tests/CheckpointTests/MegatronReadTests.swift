import Support
import Tensor
import Testing

@testable import Checkpoint

@Suite struct MegatronReadTests {
  @Test("Every stored weight of every sample equals its reference", arguments: Samples.megatron)
  func weights(_ sample: String) throws {
    let reader = try TorchDistReader(try Samples.iteration(sample))
    let reference = try SafetensorsFile(sample + "/reference_mcore.safetensors")
    #expect(!reference.tensors.isEmpty)
    for spec in reference.tensors {
      #expect(reader[spec.name]?.spec == spec)
      #expect(try reader.bytes(spec.name) == (try reference.bytes(spec.name)), "\(spec.name)")
    }
  }

  @Test("Any box of a stored tensor is what the whole tensor holds there")
  func boxes() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    for sample in Samples.megatron.suffix(2) {
      let folder = try Samples.iteration(sample)
      let reference = try SafetensorsFile(sample + "/reference_mcore.safetensors")
      for verify in [true, false] {
        let reader = try TorchDistReader(folder, verify: verify)
        for spec in reference.tensors {
          let ranges = spec.shape.map { size in
            let low = Int.random(in: 0..<size, using: &numbers)
            return low..<Int.random(in: low...size, using: &numbers)
          }
          let count = Box(ranges).count * spec.dtype.size
          var mine = [UInt8](repeating: 0, count: count)
          var theirs = mine
          try mine.withMutableRaw { (raw) throws(Fault) in
            try reader.read(spec.name, ranges: ranges, into: raw)
          }
          try theirs.withMutableRaw { (raw) throws(Fault) in
            try reference.read(spec.name, ranges: ranges, into: raw)
          }
          #expect(mine == theirs, "\(spec.name) \(ranges)")
        }
      }
    }
  }

  @Test("A plain DCP folder is read with all its types, nested names and objects")
  func plain() throws {
    let folder = Samples.fixtures + "/dcp_plain"
    let reader = try TorchDistReader(folder)
    let reference = try SafetensorsFile(folder + "/reference.safetensors")
    #expect(reference.tensors.count == 14)
    for spec in reference.tensors {
      #expect(reader[spec.name]?.spec == spec)
      #expect(try reader.bytes(spec.name) == (try reference.bytes(spec.name)), "\(spec.name)")
    }
    #expect(reader.index.paths["nested.list.0"] == ["nested", "list", "0"])
    #expect(try reader.object("a_number").value == .int(7))
    #expect(try reader.object("a_string").value == .text("text"))
    #expect(try reader.object("a_dict_obj.lr").value == .float(1e-4))
  }

  @Test("common.pt of every sample tells iteration and options", arguments: Samples.megatron)
  func common(_ sample: String) throws {
    let folder = try Samples.iteration(sample)
    let state = try CommonState(folder: folder)
    #expect(folder.hasSuffix("\(state.iteration)"))
    #expect(state.checkpointVersion == 3.0)
    #expect((state[arg: "tensor_model_parallel_size"]?.int ?? 0) >= 1)
    try FormatRecord.check(folder)
  }

  @Test("Byte objects of every sample decode", arguments: Samples.megatron)
  func objects(_ sample: String) throws {
    let reader = try TorchDistReader(try Samples.iteration(sample))
    for key in reader.index.objects.keys where key.contains("_extra_state") {
      let object = try reader.object(key)
      let items = try #require(object.value.items)
      #expect(items.count == 1)
    }
  }

  @Test("The random state of numpy and torch in a sample decodes")
  func randomState() throws {
    let sample = Samples.fixtures + "/mcore016_dense_tp1"
    let reader = try TorchDistReader(try Samples.iteration(sample))
    let object = try reader.object("rng_state/shard_0.0_1.1")
    let state = try #require(object.value.items?.first?.items?.first)
    let torch = try #require(state["torch_rng_state"])
    #expect(try object.tensor(torch)?.bytes.count == 5056)
  }
}
