import Support
import Tensor

extension CommonState {
  /// Members that are used; everything else may hold names this program does not know.
  private static let used: Set<String> = [
    "checkpoint_version", "iteration", "num_floating_point_operations_so_far", "content_metadata",
    "optimizer", "opt_param_scheduler",
  ]

  /// Reads `common.pt` of an iteration folder. One-element tensors below `optimizer` become numbers.
  /// - Throws: `FILE-001`, `FILE-002`, `CKPT-111` to `CKPT-123`, `CKPT-134`.
  public init(folder: String) throws(Fault) {
    let path = folder + "/" + Self.fileName
    let file = try PosixFile(reading: path)
    let source = try ByteSource(file, offset: 0, count: try file.size())
    let archive = try TorchArchive(source, allow: .inert)
    guard case .dict(let members) = archive.value else {
      throw Fault(.badPickle, "it holds no dictionary", at: .file(path))
    }
    self.init(iteration: 0, args: [])
    for member in members {
      guard let name = member.key.text else { continue }
      if Self.used.contains(name) {
        try Self.checkNames(member.value, in: name, path: path)
      }
      try take(name, member.value, archive: archive, path: path)
    }
  }

  private mutating func take(
    _ name: String, _ value: PickleValue, archive: TorchArchive, path: String
  ) throws(Fault) {
    func bad() -> Fault { Fault(.badPickle, "\(name) has an unexpected value", at: .file(path)) }
    switch name {
    case "args":
      guard case .object(_, let state) = value, let members = state.members else { throw bad() }
      args = members.compactMap { member in member.key.text.map { ($0, member.value) } }
    case "checkpoint_version":
      guard let version = value.double else { throw bad() }
      checkpointVersion = version
    case "iteration":
      guard let number = value.int, number >= 0 else { throw bad() }
      iteration = number
    case "num_floating_point_operations_so_far":
      guard let number = value.double else { throw bad() }
      floatingPointOperations = number
    case "content_metadata":
      if value.isNone { return }
      guard let members = value.members else { throw bad() }
      contentMetadata = members.compactMap { member in member.key.text.map { ($0, member.value) } }
    case "optimizer": optimizer = try Self.numbers(value, archive)
    case "opt_param_scheduler": scheduler = value
    default: others.append((name, value))
    }
  }

  /// Below what is used only tensors and plain data may stand.
  private static func checkNames(
    _ value: PickleValue, in member: String, path: String
  ) throws(Fault) {
    func check(_ name: PickleName) throws(Fault) {
      guard PickleAllowList.tensor.allows(name) || name == namespace else {
        throw Fault(
          .pickleNotAllowed, "\(member) names \(name.description.prefix(200))", at: .file(path),
          expected: "plain data and tensors only")
      }
    }
    switch value {
    case .global(let name), .opaque(let name): try check(name)
    case .call(let name, let items):
      try check(name)
      for item in items { try checkNames(item, in: member, path: path) }
    case .object(let name, let state):
      try check(name)
      try checkNames(state, in: member, path: path)
    case .tuple(let items), .list(let items), .set(let items):
      for item in items { try checkNames(item, in: member, path: path) }
    case .dict(let members):
      for entry in members {
        try checkNames(entry.key, in: member, path: path)
        try checkNames(entry.value, in: member, path: path)
      }
    case .persistent(let id): try checkNames(id, in: member, path: path)
    default: break
    }
  }

  /// Replaces tensors of one element by their number.
  private static func numbers(
    _ value: PickleValue, _ archive: TorchArchive
  ) throws(Fault) -> PickleValue {
    switch value {
    case .call:
      guard let record = try TensorRecord(value, path: archive.zip.source.path), record.count == 1
      else { return value }
      return try number(record, archive) ?? value
    case .dict(let members):
      var result: [PickleMember] = []
      for member in members {
        result.append(PickleMember(key: member.key, value: try numbers(member.value, archive)))
      }
      return .dict(result)
    case .list(let items): return .list(try numbers(items, archive))
    case .tuple(let items): return .tuple(try numbers(items, archive))
    default: return value
    }
  }

  private static func numbers(
    _ items: [PickleValue], _ archive: TorchArchive
  ) throws(Fault) -> [PickleValue] {
    var result: [PickleValue] = []
    for item in items { result.append(try numbers(item, archive)) }
    return result
  }

  private static func number(
    _ record: TensorRecord, _ archive: TorchArchive
  ) throws(Fault) -> PickleValue? {
    let bytes = try archive.tensor(record)
    var bits: UInt64 = 0
    for (i, byte) in bytes.enumerated() { bits |= UInt64(byte) << (8 * i) }
    switch record.dtype {
    case .float32: return .float(Double(Float(bitPattern: UInt32(bits))))
    case .float64: return .float(Double(bitPattern: bits))
    case .int64: return .int(Int(Int64(bitPattern: bits)))
    case .int32: return .int(Int(Int32(bitPattern: UInt32(bits))))
    case .bool: return .bool(bits != 0)
    default: return nil
    }
  }
}
