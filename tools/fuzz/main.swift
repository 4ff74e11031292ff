import Checkpoint
import DataPipeline
import Foundation
import Support

// fuzz FOLDER SECONDS SEED: damages the files of a folder and reads them, until the time is up. What
// was read is named before it is read, so that a crash can be repeated.
let words = Array(CommandLine.arguments.dropFirst())
guard words.count == 3, let seconds = Double(words[1]), let seed = UInt64(words[2]) else {
  Terminal.write("usage: fuzz FOLDER SECONDS SEED\n", to: .error)
  exit(ExitCode.usage.rawValue)
}

/// A reader of one kind of files.
struct Target {
  let name: String
  let read: ([UInt8], String) -> Fault?

  init?(fileName: String) {
    if let target = FuzzTarget(fileName: fileName) {
      name = target.rawValue
      read = { target.read($0, scratch: $1) }
    } else if let target = DataFuzzTarget(fileName: fileName) {
      name = target.rawValue
      read = { target.read($0, scratch: $1) }
    } else {
      return nil
    }
  }
}

/// The files below a folder that some reader takes.
func sources(_ folder: String) throws(Fault) -> [(Target, String, [UInt8])] {
  var found: [(Target, String, [UInt8])] = []
  for name in try Folder.names(folder) {
    let path = folder + "/" + name
    if Folder.kind(path) == .folder {
      found += try sources(path)
    } else if let target = Target(fileName: name), (Folder.fileSize(path) ?? 0) < 4 << 20 {
      found.append((target, path, try AtomicFile.read(path)))
    }
  }
  return found
}

func run(_ folder: String, seconds: Double, seed: UInt64) throws(Fault) {
  let files = try sources(folder)
  guard !files.isEmpty else { throw Fault(.missingFile, "no file to damage", at: .file(folder)) }
  let scratch = NSTemporaryDirectory() + "/fuzz-" + AtomicFile.uniqueName()
  defer {
    try? Folder.remove(scratch)
    try? Folder.remove(scratch + ".clips")
  }
  let end = Clock.monotonicSeconds() + seconds
  var counts: [String: (trials: Int, refused: Int)] = [:]
  var slowest = (seconds: 0.0, name: "")
  var trial: UInt64 = 0
  while Clock.monotonicSeconds() < end {
    var mutator = Mutator(seed: seed &+ trial)
    let (target, path, bytes) = files[mutator.choose(files.count)]
    let start = Clock.monotonicSeconds()
    // A crash leaves this as the last words.
    if trial % 1000 == 0 { Terminal.write("trials from seed \(seed &+ trial)\n", to: .error) }
    let fault = target.read(mutator.damage(bytes), scratch)
    let time = Clock.monotonicSeconds() - start
    if time > slowest.seconds { slowest = (time, "seed \(seed &+ trial), \(path)") }
    if let fault, fault.code.exit == .internalError {
      throw Fault(.internalError, "seed \(seed &+ trial), \(path): \(fault.message)")
    }
    let count = counts[target.name] ?? (0, 0)
    counts[target.name] = (count.trials + 1, count.refused + (fault == nil ? 0 : 1))
    trial += 1
  }
  for (name, count) in counts.sorted(by: { $0.key < $1.key }) {
    Terminal.write("\(name): \(count.trials) trials, \(count.refused) refused\n", to: .output)
  }
  Terminal.write(
    "slowest \(slowest.seconds) s (\(slowest.name)), peak memory \(ProcessMemory.peakGiB) GiB\n",
    to: .output)
  guard slowest.seconds < 5, ProcessMemory.peakGiB < 2 else {
    throw Fault(.internalError, "a damaged file costs too much time or memory")
  }
}

do {
  try run(words[0], seconds: seconds, seed: seed)
} catch {
  Terminal.write("\(error)\n", to: .error)
  exit(error.code.exit.rawValue)
}
