import Checkpoint
import Foundation
import Parallel
import Support

/// `--inspect`, `--verify` and `--diff` of `megatron-export`: they read and change nothing.
enum InspectEntry {
  /// - Returns: nil when none of them is asked for.
  static func run(_ options: ExportOptions, _ world: any Communicator) throws(Fault) -> ExitCode? {
    if let path = options.export.inspect {
      return try world.agreeing { () throws(Fault) in
        guard world.rank == 0 else { return .done }
        say(try Inspection(path: path).lines())
        return .done
      }
    }
    if let path = options.export.verify { return try verify(path, world) }
    guard !options.export.diff.isEmpty else { return nil }
    return try world.agreeing { () throws(Fault) in
      world.rank == 0 ? try difference(options) : .done
    }
  }

  private static func say(_ lines: [String]) {
    Terminal.write(lines.joined(separator: "\n") + "\n", to: .output)
  }

  private static func verify(_ path: String, _ world: any Communicator) throws(Fault) -> ExitCode {
    let result = try world.agreeing { () throws(Fault) in
      try Verification(path: path, part: world.rank, parts: world.size).run()
    }
    // Every fault is told; the exit code is that of the first.
    let texts = try world.allTexts(
      result.faults.map { "\($0.code.exit.rawValue) \($0.description)" }.joined(separator: "\u{0}"))
    let tensors = try world.total(result.tensors)
    let bytes = try world.total(result.bytes)
    let faults = texts.flatMap { $0.split(separator: "\u{0}") }
    guard world.rank == 0 || world.size == 1 else { return code(faults) }
    if faults.isEmpty {
      say(["ok: \(tensors) tensors, \(bytes) bytes: \(result.checks.joined(separator: "; "))"])
      return .done
    }
    for fault in faults {
      Terminal.write(String(fault.drop { $0 != " " }.dropFirst()) + "\n", to: .error)
    }
    say(["damaged: \(faults.count) faults in \(path)"])
    return code(faults)
  }

  private static func code(_ faults: [Substring]) -> ExitCode {
    guard let first = faults.first else { return .done }
    return Int32(first.prefix { $0 != " " }).flatMap(ExitCode.init(rawValue:)) ?? .corruptCheckpoint
  }

  private static func difference(_ options: ExportOptions) throws(Fault) -> ExitCode {
    let paths = options.export.diff
    let result = try StoreDifference(a: paths[0], b: paths[1], model: options.model.model).run()
    if result.isEqual {
      say(["equal: \(result.equal) tensors, \(result.bytes) bytes"])
      return .done
    }
    say(result.lines + ["different: \(result.lines.count) tensors, \(result.equal) are equal"])
    return .differs
  }
}
