import Support
import Testing

@testable import Checkpoint

@Suite struct FuzzTests {
  private static let sources = [
    "dcp_plain/.metadata", "minimal_torch_free/iter_0000005/.metadata",
    "minimal_torch_free/iter_0000005/common.pt", "mcore016_dense_tp1/iter_0000001/common.pt",
    "hostile_pickles/duplicate_keys_ok.pkl", "hostile_pickles/memo_bomb.pkl",
    "safetensors_cases/ok_two.safetensors", "safetensors_cases/ok_bf16_f16_i64_u8_bool.safetensors",
    "hf_sharded/model-00001-of-00002.safetensors",
  ]

  @Test("Damaged files are taken or refused with a fault of the input, whatever the damage")
  func damaged() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    let folder = try TemporaryFolder()
    var mutator = Mutator(seed: seed)
    var refused: [FuzzTarget: Int] = [:]
    for name in Self.sources {
      let target = try #require(FuzzTarget(fileName: Folder.name(name)))
      let bytes = try AtomicFile.read(Samples.fixtures + "/" + name)
      for i in 0..<150 {
        guard let found = target.read(mutator.damage(bytes), scratch: folder.path + "/x") else {
          continue
        }
        refused[target, default: 0] += 1
        #expect(
          found.code.exit == .corruptCheckpoint || found.code.exit == .badData,
          "\(name), change \(i): \(found)")
      }
    }
    for target in FuzzTarget.allCases { #expect((refused[target] ?? 0) > 50, "\(target)") }
  }

  @Test("An archive inside a data file survives damage too")
  func items() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    let sample = Samples.fixtures + "/minimal_torch_free/iter_0000005"
    let index = try DistIndex(path: sample + "/.metadata")
    var mutator = Mutator(seed: seed)
    var refused = 0
    for tensor in index.tensors.values {
      for chunk in tensor.chunks {
        let place = chunk.location
        let file = try AtomicFile.read(sample + "/" + place.file)
        let item = Array(file[place.offset..<place.offset + place.length])
        #expect(FuzzTarget.archive.read(item, scratch: "x") == nil)
        for _ in 0..<60 where FuzzTarget.archive.read(mutator.damage(item), scratch: "x") != nil {
          refused += 1
        }
      }
    }
    #expect(refused > 100)
  }

  @Test("A single file with a pickle is shown, a hostile one is refused with the code for damage")
  func singleFiles() throws {
    let folder = Samples.fixtures + "/hostile_pickles"
    #expect(try TorchFile.value(folder + "/duplicate_keys_ok.pkl").text() == "{'a': 1, 'a': 2}")
    for name in try Folder.names(folder) where name.hasSuffix(".pkl") {
      guard name != "duplicate_keys_ok.pkl" else { continue }
      #expect(
        fault { _ = try TorchFile.value(folder + "/" + name) }?.code.exit == .corruptCheckpoint,
        "\(name)")
    }
  }
}
