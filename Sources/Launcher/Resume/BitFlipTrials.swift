import Checkpoint
import Foundation
import Parallel
import Support

/// `flip-bits FOLDER --trials N --seed S`: flips one bit of a checkpoint, loads it as training does, and
/// flips it back. Half of the flips fall anywhere in the bytes, half in a file drawn first, so that small
/// files have their share.
public enum BitFlipTrials {
  /// - Returns: 1 when a flip was not found, or its fault names another file or tensor.
  public static func run(_ words: [String]) -> ExitCode {
    var (trials, seed) = (200, UInt64(1))
    var rest = words
    while let place = rest.firstIndex(where: { $0.hasPrefix("--") }), place + 1 < rest.count {
      guard let number = UInt64(rest[place + 1]) else { break }
      if rest[place] == "--trials" { trials = Int(number) } else { seed = number }
      rest.removeSubrange(place...place + 1)
    }
    guard rest.count == 1 else {
      Terminal.write("usage: flip-bits FOLDER [--trials N] [--seed S]\n", to: .error)
      return .usage
    }
    do throws(Fault) {
      return try run(rest[0], trials: trials, seed: seed)
    } catch {
      Terminal.write(error.description + "\n", to: .error)
      return error.code.exit
    }
  }

  private static func run(
    _ folder: String, trials: Int, seed: UInt64
  ) throws(Fault) -> ExitCode {
    guard let manifest = try Manifest.read(folder) else {
      throw Fault(.incompleteCheckpoint, "there is no manifest", at: .file(folder))
    }
    try load(folder)
    let names = try Folder.names(folder).sorted()
    let sizes = names.map { Folder.fileSize(folder + "/" + $0) ?? 0 }
    var numbers = CounterNumbers(seed: seed)
    var missed = 0
    for trial in 0..<trials {
      var file = numbers.below(names.count)
      var byte = sizes[file] > 0 ? numbers.below(sizes[file]) : 0
      if trial % 2 == 0 {
        byte = numbers.below(sizes.reduce(0, +))
        file = 0
        while byte >= sizes[file] {
          byte -= sizes[file]
          file += 1
        }
      }
      let item = manifest.files.first { $0.name == names[file] }?.items.last {
        $0.offset <= byte
      }
      let flip = Flip(
        path: folder + "/" + names[file], byte: byte, bit: numbers.below(8), key: item?.key)
      if try !flip.isFound({ () throws(Fault) in try load(folder) }) {
        missed += 1
        Terminal.write(
          "not found: bit \(flip.bit) of byte \(byte) of \(names[file])\n", to: .output)
      }
    }
    try load(folder)
    Terminal.write("\(trials - missed) of \(trials) flipped bits were found\n", to: .output)
    return missed == 0 ? .done : .differs
  }

  private static func load(_ folder: String) throws(Fault) {
    _ = try LoadedCheckpoint.open(
      folder, fallback: .stop, world: SelfWorld(), logger: Logger(level: .error, rank: 0))
  }

  private struct Flip {
    let path: String
    let byte: Int
    let bit: Int
    /// The item that the byte lies in.
    let key: String?

    /// Whether loading fails with a fault that names file and tensor.
    func isFound(_ load: () throws(Fault) -> Void) throws(Fault) -> Bool {
      try flip()
      var fault: Fault?
      do throws(Fault) { try load() } catch { fault = error }
      try flip()
      guard let text = fault?.description, fault?.code.id.hasPrefix("CKPT-") == true else {
        return false
      }
      return text.contains(Folder.name(path)) && (key.map { text.contains($0) } ?? true)
    }

    private func flip() throws(Fault) {
      guard let file = FileHandle(forUpdatingAtPath: path) else {
        throw Fault(.unreadableFile, "cannot be opened", at: .file(path))
      }
      defer { try? file.close() }
      do {
        try file.seek(toOffset: UInt64(byte))
        guard let old = try file.read(upToCount: 1)?.first else { return }
        try file.seek(toOffset: UInt64(byte))
        try file.write(contentsOf: [old ^ UInt8(1 << bit)])
      } catch {
        throw Fault(.cannotWrite, "the bit cannot be flipped", at: .file(path), cause: error)
      }
    }
  }
}

/// Numbers that follow from a seed (SplitMix64, Steele et al. 2014).
private struct CounterNumbers {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func below(_ limit: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((z ^ (z >> 31)) % UInt64(max(limit, 1)))
  }
}
