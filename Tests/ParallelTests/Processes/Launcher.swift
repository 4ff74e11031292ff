import Foundation
import Synchronization

/// What a finished program left.
struct ProgramResult: Sendable {
  let status: Int32
  let output: String
}

/// Runs `rank-tests` under mpirun with a time limit.
enum MPILauncher {
  static let mpirun: String? = {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    return path.split(separator: ":").map { "\($0)/mpirun" }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }()

  /// The folder of the built products: that of the test bundle's own executable.
  static let helper: String? = {
    let own =
      [
        CommandLine.arguments[0],
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "",
      ] + CommandLine.arguments.filter { $0.hasSuffix(".xctest") }
    return own.map {
      URL(filePath: $0).deletingLastPathComponent().appending(path: "rank-tests").path
    }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }()

  static var isAvailable: Bool { mpirun != nil && helper != nil }

  static func run(ranks: Int, _ arguments: [String], seconds: Int = 90) throws -> ProgramResult {
    guard let mpirun, let helper else { return ProgramResult(status: -1, output: "no mpirun") }
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments =
      ["timeout", "-k", "5", "\(seconds)", mpirun, "--oversubscribe", "--bind-to", "none"]
      + ["-n", "\(ranks)", helper] + arguments
    process.environment = environment
    let out = Pipe()
    let error = Pipe()
    process.standardOutput = out
    process.standardError = error
    let text = Mutex("")
    try process.run()
    // Both pipes at once: a full one would block the program while the other is read.
    let readers = DispatchGroup()
    for pipe in [out, error] {
      DispatchQueue.global().async(group: readers) {
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        text.withLock { $0 += String(decoding: data, as: UTF8.self) }
      }
    }
    readers.wait()
    process.waitUntilExit()
    return ProgramResult(status: process.terminationStatus, output: text.withLock { $0 })
  }

  private static var environment: [String: String] {
    var values = ProcessInfo.processInfo.environment.filter {
      // A test run inside a job must not make the new job believe it is a part of it.
      !["OMPI_", "PMIX_", "PRTE_"].contains(where: $0.key.hasPrefix)
    }
    values["OMPI_ALLOW_RUN_AS_ROOT"] = "1"
    values["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    values["OPENBLAS_NUM_THREADS"] = "1"
    values["SWIFT_BACKTRACE"] = "enable=no"
    return values
  }
}
