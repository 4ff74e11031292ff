import Foundation
import Support
import Testing

@testable import Checkpoint

@Suite struct CommitTests {
  /// Saves a small checkpoint.
  private func save(_ root: String, _ iteration: Int, probe: CommitProbe = .none) throws {
    let commit = CheckpointCommit(
      root: root, name: .iteration(iteration), id: "test\(UInt32.random(in: 0...UInt32.max))",
      probe: probe)
    try commit.prepare()
    var numbers = SeededNumbers(seed: UInt64(iteration))
    let checkpoint = RandomCheckpoint(&numbers, count: 2)
    let shards = checkpoint.specs.map { spec -> TensorShard in
      let bytes = checkpoint.data[spec.name] ?? []
      return TensorShard(spec, box: Box(shape: spec.shape)) { (emit) throws(Fault) in
        try bytes.withRaw { (raw) throws(Fault) in try emit(raw) }
      }
    }
    let report = try TorchDistWriter.write(
      tensors: shards, to: commit.staging, rank: 0, probe: probe)
    let files = try TorchDistWriter.finish(
      commit.staging, reports: [report], common: CommonState(iteration: iteration, args: []))
    try commit.finish(files: files, info: JSONObject([("position", JSONValue(iteration * 10))]))
    try CheckpointFolder.prune(root, keep: 2, id: commit.id, probe: probe)
  }

  /// The tracker leads to a whole checkpoint with the right data.
  private func check(_ root: String, _ allowed: [Int]) throws {
    let place = try CheckpointLocator.resolve(root, patience: 0)
    #expect(allowed.contains(place.iteration))
    let manifest = try #require(try Manifest.read(place.folder))
    try manifest.verify(place.folder)
    #expect(manifest.info["position"]?.int == place.iteration * 10)
    var numbers = SeededNumbers(seed: UInt64(place.iteration))
    let checkpoint = RandomCheckpoint(&numbers, count: 2)
    let reader = try TorchDistReader(place.folder)
    for spec in checkpoint.specs {
      #expect(try reader.bytes(spec.name) == checkpoint.data[spec.name])
    }
  }

  @Test(
    "A fault at any point of a save leaves a whole checkpoint behind",
    arguments: CommitPoint.allCases)
  func faults(_ point: CommitPoint) throws {
    for again in [false, true] {
      let folder = try TemporaryFolder()
      for iteration in 1...3 { try save(folder.path, iteration) }
      let probe = CommitProbe { (at) throws(Fault) in
        if at == point { throw Fault(.cannotWrite, "injected at \(at)") }
      }
      let target = again ? 3 : 4
      let found = fault { try save(folder.path, target, probe: probe) }
      // Saving the same iteration again leaves nothing to prune.
      let pruning = point == .beforePrune || point == .midPrune
      #expect((found != nil) == (!again || !pruning))
      try CheckpointFolder.mend(folder.path, now: Int(Date().timeIntervalSince1970))
      try check(folder.path, [3, target])
      #expect(try Folder.names(folder.path).allSatisfy { !$0.hasPrefix(".") })
      try save(folder.path, 5)
      try check(folder.path, [5])
    }
  }

  @Test("Remains of a dead process are removed, those of a living one stay")
  func remains() throws {
    let folder = try TemporaryFolder()
    let living = SaveID.make()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/true")
    try process.run()
    process.waitUntilExit()
    var parts = living.split(separator: "-").map(String.init)
    parts[1] = String(process.processIdentifier, radix: 36)
    for id in [living, parts.joined(separator: "-"), "foreign"] {
      try Folder.make(folder.path + "/.tmp_iter_0000007_" + id)
      try Folder.make(folder.path + "/.old_iter_0000008_" + id)
    }
    try CheckpointFolder.mend(folder.path, now: Int(Date().timeIntervalSince1970))
    let names = Set(try Folder.names(folder.path))
    #expect(
      names == [".tmp_iter_0000007_" + living, ".old_iter_0000008_" + living, "iter_0000008"])
  }

  @Test("Only the wanted number of checkpoints stays, and always the one the tracker names")
  func retention() throws {
    let folder = try TemporaryFolder()
    for iteration in 1...4 { try save(folder.path, iteration) }
    #expect(CheckpointLocator.complete(folder.path) == [.iteration(3), .iteration(4)])
    try Tracker.write(.iteration(3), to: folder.path)
    #expect(try CheckpointFolder.prune(folder.path, keep: 1, id: "x").isEmpty)
  }

  @Test("A path may name the run, the iteration folder, or an older iteration by the tracker")
  func paths() throws {
    let folder = try TemporaryFolder()
    for iteration in 1...2 { try save(folder.path, iteration) }
    let top = try CheckpointLocator.resolve(folder.path + "/", patience: 0)
    #expect(top.name == .iteration(2))
    let inner = try CheckpointLocator.resolve(folder.path + "/iter_0000001", patience: 0)
    #expect(inner.name == .iteration(1))
    #expect(inner.root == Folder.resolved(folder.path))
    try AtomicFile.write(" 1\n", to: folder.path + "/" + Tracker.fileName)
    #expect(try CheckpointLocator.resolve(folder.path, patience: 0).iteration == 1)
    try Folder.rename(folder.path + "/iter_0000002", to: folder.path + "/release")
    try AtomicFile.write("release", to: folder.path + "/" + Tracker.fileName)
    let release = try CheckpointLocator.resolve(folder.path, patience: 0)
    #expect(release.name == .release)
    #expect(release.iteration == 0)
  }

  @Test(
    "A useless tracker stops with the newest whole checkpoint named",
    arguments: ["", "x", "0", "-3", "9", "1 2"])
  func tracker(_ text: String) throws {
    let folder = try TemporaryFolder()
    try save(folder.path, 1)
    try AtomicFile.write(text, to: folder.path + "/" + Tracker.fileName)
    let found = fault { _ = try CheckpointLocator.resolve(folder.path, patience: 0) }
    #expect(found?.code == .badTracker)
    #expect(found?.fix?.contains("iter_0000001") == true)
    let place = try CheckpointLocator.resolve(
      folder.path, fallback: .newestComplete, patience: 0)
    #expect(place.iteration == 1)
  }

  @Test("A damaged checkpoint is found by its manifest, and a damaged manifest by its own checksum")
  func damage() throws {
    let folder = try TemporaryFolder()
    try save(folder.path, 1)
    let inner = folder.path + "/iter_0000001"
    let manifest = try #require(try Manifest.read(inner))
    var bytes = try AtomicFile.read(inner + "/common.pt")
    bytes[100] ^= 4
    try AtomicFile.write(bytes, to: inner + "/common.pt")
    #expect(fault { try manifest.verify(inner) }?.code == .manifestMismatch)
    try AtomicFile.write(Array(bytes.dropLast()), to: inner + "/common.pt")
    #expect(
      fault { _ = try CheckpointLocator.resolve(folder.path, patience: 0) }?.code
        == .incompleteCheckpoint)
    let text = String(decoding: try AtomicFile.read(inner + "/manifest.json"), as: UTF8.self)
    try AtomicFile.write(
      text.replacingOccurrences(of: "\"position\": 10", with: "\"position\": 11"),
      to: inner + "/manifest.json")
    #expect(fault { _ = try Manifest.read(inner) }?.code == .manifestMismatch)
  }

  @Test("CRC-32C has the value of the standard and joins from parts")
  func checksum() {
    #expect(CRC32C(Array("123456789".utf8)).value == 0xE306_9283)
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SeededNumbers(seed: seed)
    for _ in 0..<50 {
      let bytes = numbers.bytes(Int.random(in: 0...300, using: &numbers))
      let cut = Int.random(in: 0...bytes.count, using: &numbers)
      var joined = CRC32C(Array(bytes[..<cut]))
      joined.append(CRC32C(Array(bytes[cut...])))
      #expect(joined == CRC32C(bytes))
    }
  }
}
