import Support
import Tensor

/// The state of a checkpoint that is not split over ranks: `common.pt`.
public struct CommonState: Sendable, Equatable {
  public static let fileName = "common.pt"

  /// The options of the run, an `argparse.Namespace`. Write plain values and `torch` types only:
  /// newer Megatron refuses everything else.
  public var args: [(String, PickleValue)]
  public var iteration: Int
  /// 3.0; below 2.0 the loader of Megatron reorders the QKV rows.
  public var checkpointVersion: Double
  public var floatingPointOperations: Double
  /// For instance `distrib_optim_sharding_type`.
  public var contentMetadata: [(String, PickleValue)]
  /// Parameter groups and the like; nil when none were saved.
  public var optimizer: PickleValue?
  /// The state of the learning-rate schedule (`opt_param_scheduler`).
  public var scheduler: PickleValue?
  /// Further members, in their order.
  public var others: [(String, PickleValue)]

  public init(
    iteration: Int, args: [(String, PickleValue)], contentMetadata: [(String, PickleValue)] = []
  ) {
    self.iteration = iteration
    self.args = args
    self.contentMetadata = contentMetadata
    checkpointVersion = 3.0
    floatingPointOperations = 0
    others = []
  }

  public subscript(arg name: String) -> PickleValue? { args.last { $0.0 == name }?.1 }

  static let namespace = PickleName("argparse", "Namespace")

  /// The whole file as a value.
  public var value: PickleValue {
    var members: [(String, PickleValue)] = [
      ("args", .object(Self.namespace, state: .dictionary(args))),
      ("checkpoint_version", .float(checkpointVersion)),
      ("iteration", .int(iteration)),
    ]
    if let optimizer { members.append(("optimizer", optimizer)) }
    if let scheduler { members.append(("opt_param_scheduler", scheduler)) }
    members += [
      ("num_floating_point_operations_so_far", .float(floatingPointOperations)),
      ("content_metadata", .dictionary(contentMetadata)),
    ]
    return .dictionary(members + others)
  }

  public static func == (a: CommonState, b: CommonState) -> Bool { a.value == b.value }

  /// Writes `common.pt` into a folder that has none yet, and flushes it.
  /// - Throws: `FILE-003`.
  public func write(to folder: String) throws(Fault) -> WrittenFile {
    let file = try BlockFile(creating: folder + "/" + Self.fileName, copy: PassingCopy.run)
    var archive = TorchArchiveWriter(file, base: 0, root: "common")
    try archive.write(value)
    try file.settle()
    return WrittenFile(
      name: Self.fileName, size: archive.position, crc32c: archive.digest.value)
  }
}
