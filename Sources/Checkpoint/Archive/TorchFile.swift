import Support

/// A single file with a pickle in it: an archive of `torch.save`, or a bare pickle.
public enum TorchFile {
  /// What somebody looks at has fewer values than what a run reads.
  static let limits: PickleLimits = {
    var limits = PickleLimits()
    limits.expanded = 2_000_000
    return limits
  }()

  /// The value in it, inert. A bare pickle may name plain data, tensors and numpy arrays only; in an
  /// archive, such as `common.pt`, names of code are shown as names.
  /// - Throws: `FILE-001`, `FILE-002`, `CKPT-111` to `CKPT-122`.
  public static func value(_ path: String) throws(Fault) -> PickleValue {
    let file = try PosixFile(reading: path)
    let size = try file.size()
    if size >= 4, try file.read(4, at: 0) == Array("PK\u{3}\u{4}".utf8) {
      let source = try ByteSource(file, offset: 0, count: size)
      return try TorchArchive(source, allow: .inert, limits: limits).value
    }
    let bytes = try AtomicFile.read(path, limit: limits.bytes)
    return try PickleValue.decode(bytes, path: path, allow: .object, limits: limits)
  }
}

extension PickleValue {
  /// A text of the value, for people; long ones are cut.
  public func text(limit: Int = 60) -> String {
    func all(_ items: [PickleValue]) -> String {
      items.prefix(limit).map { $0.text(limit: limit) }.joined(separator: ", ")
        + (items.count > limit ? ", … \(items.count - limit) more" : "")
    }
    switch self {
    case .none: return "None"
    case .bool(let value): return value ? "True" : "False"
    case .int(let value): return "\(value)"
    case .bigInt: return "\(double ?? 0)"
    case .float(let value): return "\(value)"
    case .text(let text): return "'\(text.count > 400 ? text.prefix(400) + "…" : text[...])'"
    case .bytes(let bytes): return "<\(bytes.count) bytes>"
    case .tuple(let items): return "(\(all(items)))"
    case .list(let items): return "[\(all(items))]"
    case .set(let items): return "{\(all(items))}"
    case .dict(let members):
      let shown = members.prefix(limit).map {
        "\($0.key.text(limit: limit)): \($0.value.text(limit: limit))"
      }
      let more = members.count > limit ? ", … \(members.count - limit) more" : ""
      return "{\(shown.joined(separator: ", "))\(more)}"
    case .global(let name), .opaque(let name): return "<\(name)>"
    case .call(let name, let items): return "<\(name)>(\(all(items)))"
    case .object(let name, let state): return "<\(name)> \(state.text(limit: limit))"
    case .persistent(let id): return "storage \(id.text(limit: limit))"
    }
  }
}
