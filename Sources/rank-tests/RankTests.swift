import Parallel
import Support

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Writes one line at once, so that the lines of several ranks stay whole.
func say(_ line: String) {
  let bytes = Array((line + "\n").utf8)
  bytes.withUnsafeBytes { _ = write(1, $0.baseAddress, $0.count) }
}

/// Ends this process without telling the others.
func quit(_ code: ExitCode) -> Never { _exit(code.rawValue) }

/// `mpirun -n N rank-tests --case NAME [--ranks-per-node N] [--no-shared-memory] [--slot BYTES]
/// [--threads] [--seeds N] [--largest N]`: runs one case on N processes; rank 0 prints PASS and all leave with
/// 0, or the failing rank prints why and the job leaves with 1.
@main
struct RankTests {
  static func main() {
    guard let setting = parse(Array(CommandLine.arguments.dropFirst())),
      let chosen = Cases.table.first(where: { $0.name == setting.name })
    else {
      say("usage: rank-tests --case NAME [--ranks-per-node N] [--no-shared-memory] [--slot BYTES]")
      for row in Cases.table { say("  \(row.name): \(row.what)") }
      quit(.usage)
    }
    do {
      let world = try MPIWorld.start(options(setting))
      do {
        try chosen.body(world, setting)
      } catch {
        say("FAIL \(setting.name) on rank \(world.rank): \(error)")
        MPIWorld.abort(.internalError)
      }
      try world.barrier()
      if world.rank == 0 {
        say("PASS \(setting.name) on \(world.size) ranks, \(try world.transport())")
      }
      try world.finish()
    } catch {
      say("FAIL \(setting.name): \(error)")
      MPIWorld.abort(.internalError)
    }
  }

  static func options(_ setting: CaseSetting) -> MPIWorld.Options {
    var options = MPIWorld.Options()
    options.ranksPerNode = setting.ranksPerNode
    options.sharesMemory = setting.sharesMemory
    options.sizes = setting.slot
    options.wantsThreads = setting.wantsThreads
    return options
  }

  static func parse(_ words: [String]) -> CaseSetting? {
    var setting = CaseSetting()
    var rest = words[...]
    while let word = rest.popFirst() {
      if word == "--no-shared-memory" {
        setting.sharesMemory = false
        continue
      }
      if word == "--threads" {
        setting.wantsThreads = true
        continue
      }
      guard let value = rest.popFirst() else { return nil }
      switch (word, Int(value)) {
      case ("--case", _): setting.name = value
      case ("--ranks-per-node", let number?): setting.ranksPerNode = number
      case ("--slot", let number?):
        setting.slot = SharedMemorySizes(
          initialSlot: number, largestSlot: number, small: number / 2)
      case ("--seeds", let number?): setting.seeds = number
      case ("--largest", let number?): setting.largest = number
      default: return nil
      }
    }
    return setting
  }
}
