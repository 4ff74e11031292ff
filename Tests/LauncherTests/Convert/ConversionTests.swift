import Checkpoint
import Foundation
import Model
import Parallel
import Support
import Synchronization
import Tensor
import Testing

@testable import Launcher

@Suite struct ConversionTests {
  /// Converts a folder to Megatron's form with as many ranks as asked for.
  private static func convert(
    _ model: String, to output: String, ranks: Int = 1, _ words: [String] = [],
    stopAfter: Int? = nil
  ) throws {
    let count = Mutex(0)
    _ = try ThreadWorld.run(ranks: ranks) { world in
      let options = try read(
        ["--model", model, "--to_mcore", "true", "--output_dir", output, "--exist_ok", "true"]
          + words)
      let folder = try ModelFolder(model: model, checkpoint: nil)
      try Conversions(
        options: options, folder: folder, world: world, threads: 2, output: output,
        logger: Logger(level: .error),
        isStopped: {
          guard let stopAfter else { return false }
          return count.withLock {
            $0 += 1
            return $0 > stopAfter
          }
        }
      ).toMegatron()
    }
  }

  private static func export(
    _ checkpoint: String, _ model: String, to output: String, ranks: Int = 1, shard: Int,
    experts: ExpertOrder = .published
  ) throws {
    _ = try ThreadWorld.run(ranks: ranks) { world in
      _ = try PublishedExport(
        folder: try ModelFolder(model: model, checkpoint: nil), world: world, threads: 1,
        logger: Logger(level: .error), maxShardBytes: shard, experts: experts
      ).write(checkpoint + "/iter_0000001", to: output)
    }
  }

  private static func read(_ words: [String]) throws -> ExportOptions {
    guard
      case .run(let options) = try ExportOptions.read(
        words + ["--logging_level", "ERROR"], launch: LaunchEnvironment([:]))
    else { throw Unexpected(what: "options") }
    return options
  }

  private func content(_ folder: String) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for name in try Folder.names(folder) where Folder.kind(folder + "/" + name) == .file {
      files[name] = try AtomicFile.read(folder + "/" + name)
    }
    return files
  }

  @Test("Any number of ranks writes the same files, both ways", arguments: TinyModel.Kind.allCases)
  func ranks(_ kind: TinyModel.Kind) throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    try TinyModel.write(kind, to: path + "/model")
    for ranks in [1, 2, 3] {
      try Self.convert(
        path + "/model", to: path + "/m\(ranks)", ranks: ranks, ["--thread_count", "4"])
      try Self.export(
        path + "/m1", path + "/model", to: path + "/p\(ranks)", ranks: ranks, shard: 60_000)
    }
    let (one, published) = (try content(path + "/m1/iter_0000001"), try content(path + "/p1"))
    #expect(one.keys.filter { $0.hasSuffix(".distcp") }.count == 4)
    #expect(published.keys.filter { $0.hasSuffix(".safetensors") }.count > 2)
    for ranks in [2, 3] {
      #expect(try content(path + "/m\(ranks)/iter_0000001") == one)
      #expect(try content(path + "/p\(ranks)") == published)
    }
    for pair in [("p1", "model"), ("m1", "model"), ("p1", "m2"), ("m1", "m3")] {
      let found = try StoreDifference(a: path + "/" + pair.0, b: path + "/" + pair.1).run()
      #expect(found.isEqual && found.equal > 5, "\(pair): \(found.lines.prefix(3))")
    }
    for name in ["m1", "p1"] {
      let result = try Verification(path: path + "/" + name).run()
      #expect(result.faults.isEmpty && result.tensors > 5, "\(name): \(result.faults)")
    }
  }

  @Test("Experts are written in both orders, and both come back to the same checkpoint")
  func expertOrders() throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    try TinyModel.write(.vlMoE, to: path + "/model")
    try Self.convert(path + "/model", to: path + "/m")
    let words = ["--model", path + "/model", "--mcore_model", path + "/m", "--to_hf", "true"]
    for order in ["published", "v5"] {
      let options = try Self.read(
        words + ["--output_dir", path + "/" + order, "--hf_expert_layout", order])
      try Conversions(
        options: options, folder: try ModelFolder(model: path + "/model", checkpoint: nil),
        world: SelfWorld(), threads: 1, output: path + "/" + order, logger: Logger(level: .error)
      ).toPublished()
    }
    let name = "model.language_model.layers.1.mlp.experts.gate_up_proj"
    let shapes = try ["published", "v5"].map {
      try SafetensorsFolder(path + "/" + $0)[name]?.shape
    }
    #expect(shapes == [[8, 64, 96], [8, 96, 64]])
    try Self.convert(path + "/v5", to: path + "/back")
    let pairs = [
      ("m", "back"), ("m", "v5"), ("v5", "m"), ("v5", "published"), ("published", "v5"),
      ("v5", "v5"), ("model", "published"),
    ]
    for (a, b) in pairs {
      let found = try StoreDifference(a: path + "/" + a, b: path + "/" + b).run()
      #expect(found.isEqual && found.equal > 5, "\(a) \(b): \(found.lines.prefix(3))")
    }
    #expect(try Verification(path: path + "/v5").run().faults.isEmpty)
  }

  @Test("What a stopped conversion left in one order of experts is not used for the other")
  func expertOrderPurpose() {
    let texts = [ExpertLayout.transposed, .stacked].map {
      ConversionPurpose.text("m", source: "", dtype: nil, experts: $0, files: [])
    }
    #expect(texts[0] != texts[1])
  }

  @Test("A conversion that is stopped after any tensor goes on and ends with the same files")
  func goesOn() throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    try TinyModel.write(.moe, to: path + "/model")
    try Self.convert(path + "/model", to: path + "/whole")
    let whole = try content(path + "/whole/iter_0000001")
    for stop in [0, 1, 7, 40] {
      let output = path + "/stopped\(stop)"
      var found: Fault?
      do { try Self.convert(path + "/model", to: output, stopAfter: stop) } catch let fault as Fault
      {
        found = fault
      }
      #expect(found?.code == .conversionStopped)
      #expect(Conversions.isUnfinished(output))
      #expect(Folder.kind(output + "/iter_0000001") == .nothing)
      try Self.convert(path + "/model", to: output)
      #expect(try content(output + "/iter_0000001") == whole)
      #expect(!Conversions.isUnfinished(output))
    }
  }

  @Test("A changed element is found by the comparison, a changed byte by the check, each by name")
  func damage() throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    try TinyModel.write(.dense, to: path + "/model")
    try Self.convert(path + "/model", to: path + "/m")
    let file = path + "/model/model.safetensors"
    let opened = try SafetensorsFile(file)
    let name = try #require(opened.tensors.last?.name)
    var bytes = try AtomicFile.read(file)
    bytes[bytes.count - 3] ^= 0x40
    try AtomicFile.write(bytes, to: file)
    let found = try StoreDifference(a: path + "/m", b: path + "/model").run()
    #expect(found.lines.count == 1)
    #expect(found.lines.first?.hasPrefix("\(name): 1 of") == true)
    let data = path + "/m/iter_0000001/__0_0.distcp"
    var items = try AtomicFile.read(data)
    items[items.count / 2] ^= 1
    try AtomicFile.write(items, to: data)
    let result = try Verification(path: path + "/m").run()
    #expect(result.faults.contains { $0.description.contains("tensor") })
  }

  @Test("An unknown and a missing tensor are errors that name them")
  func unknown() throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    try TinyModel.write(.dense, to: path + "/model")
    let file = path + "/model/model.safetensors"
    let text = try AtomicFile.read(file)
    let old = Array("model.norm.weight".utf8)
    let place = try #require(text.firstRange(of: old))
    var renamed = text
    renamed.replaceSubrange(place, with: Array("model.form.weight".utf8))
    try AtomicFile.write(renamed, to: file)
    var found: Fault?
    do { try Self.convert(path + "/model", to: path + "/m") } catch let fault as Fault {
      found = fault
    }
    #expect(found?.code.id == "MODEL-103")
    #expect(found?.found?.contains("model.norm.weight is missing") == true)
    #expect(found?.found?.contains("model.form.weight belongs to no part") == true)
  }

  /// The weights of a checkpoint, written again under other keys.
  private func rewrite(
    _ checkpoint: String, to folder: String,
    _ change: (TensorSpec, [UInt8]) -> [(TensorSpec, [UInt8])]
  ) throws {
    let reader = try TorchDistReader(checkpoint)
    var shards: [TensorShard] = []
    for key in reader.index.keys {
      guard let spec = reader[key]?.spec else { continue }
      for (new, bytes) in change(spec, try reader.bytes(key)) {
        shards.append(
          TensorShard(new, box: Box(shape: new.shape)) { (emit) throws(Fault) in
            try bytes.withRaw { (raw) throws(Fault) in try emit(raw) }
          })
      }
    }
    try Folder.make(folder)
    let report = try TorchDistWriter.write(tensors: shards, to: folder, rank: 0)
    _ = try TorchDistWriter.finish(
      folder, reports: [report], common: CommonState(iteration: 1, args: []))
  }

  @Test("Layers of their own with gate and up apart are read like stacked ones")
  func halves() throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    try TinyModel.write(.dense, to: path + "/model")
    try Self.convert(path + "/model", to: path + "/m")
    try rewrite(path + "/m/iter_0000001", to: path + "/split") { spec, bytes in
      guard spec.name == "decoder.layers.mlp.linear_fc1.weight" else { return [(spec, bytes)] }
      let half = bytes.count / spec.shape[0] / 2
      return (0..<spec.shape[0]).flatMap { layer in
        ["w", "v"].enumerated().map { i, letter in
          let from = (2 * layer + i) * half
          return (
            TensorSpec(
              "decoder.layers.\(layer).mlp.linear_fc1.weight_\(letter)", spec.dtype,
              [spec.shape[1] / 2, spec.shape[2]]), Array(bytes[from..<from + half])
          )
        }
      }
    }
    let found = try StoreDifference(a: path + "/split", b: path + "/model").run()
    #expect(found.isEqual && found.equal > 10, "\(found.lines.prefix(3))")
  }

  @Test("Weights of a checkpoint that the model has no place for stop the export by name")
  func unusedWeights() throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    try TinyModel.write(.dense, to: path + "/model")
    try Self.convert(path + "/model", to: path + "/m")
    try rewrite(path + "/m/iter_0000001", to: path + "/more/iter_0000001") { spec, bytes in
      let norm = spec.name == "decoder.final_layernorm.weight"
      return [(spec, bytes)]
        + (norm ? [(TensorSpec("mtp.layers.0.norm.weight", spec.dtype, spec.shape), bytes)] : [])
    }
    var found: Fault?
    do {
      try Self.export(path + "/more", path + "/model", to: path + "/p", shard: 1 << 30)
    } catch let fault as Fault { found = fault }
    #expect(found?.found == "mtp.layers.0.norm.weight")
  }

  @Test("Runs of elements are cut into boxes that cover them in order")
  func boxes() throws {
    let shape = [3, 4, 5]
    for first in 0..<60 {
      for last in first...60 {
        var elements: [Int] = []
        for box in ElementRun.boxes(first..<last, shape) {
          for i in box[0] {
            for j in box[1] { for k in box[2] { elements.append((i * 4 + j) * 5 + k) } }
          }
        }
        #expect(elements == Array(first..<last))
      }
    }
  }

  @Test("What a folder holds is listed with its files, checksums and tensors")
  func inspection() throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    try TinyModel.write(.moe, to: path + "/model")
    try Self.convert(path + "/model", to: path + "/m")
    let lines = try Inspection(path: path + "/m").lines()
    #expect(lines.contains("format     Megatron torch_dist"))
    #expect(lines.contains("iteration  1"))
    #expect(lines.contains { $0.hasPrefix("layout     tp 1, pp 1") })
    #expect(lines.contains { $0.hasPrefix("file       __0_0.distcp") && $0.contains("CRC-32C") })
    #expect(
      lines.contains { $0.hasPrefix("tensor     embedding.word_embeddings.weight  BF16  [") })
    let published = try Inspection(path: path + "/model").lines()
    #expect(published.contains { $0.contains("model.embed_tokens.weight  BF16") })
  }
}
