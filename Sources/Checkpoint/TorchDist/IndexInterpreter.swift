import Support
import Tensor

/// Matches the nodes of `.metadata` against the classes that torch and megatron-core write.
struct IndexInterpreter {
  let graph: PickleGraph
  let path: String

  struct Tensor {
    var dtype: DType
    var shape: [Int]
    var boxes: [Box]
  }

  static let module = "torch.distributed.checkpoint.metadata"
  static let storageInfo = PickleName("torch.distributed.checkpoint.filesystem", "_StorageInfo")
  private static let roots: Set<PickleName> = [
    PickleName(module, "Metadata"),
    PickleName("megatron.core.dist_checkpointing.strategies.torch", "MCoreMetadata"),
  ]
  /// What may hold anything, because nobody needs it to load.
  private static let opaque: Set<String> = [
    "all_local_plans", "storage_meta", "planner_data", "mcore_data",
  ]
  private static let known: Set<PickleName> = Set(
    [
      "Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata",
      "BytesStorageMetadata", "_MEM_FORMAT_ENCODING", "MetadataIndex", "StorageMeta",
    ].map { PickleName(module, $0) }
      + TorchTypes.dtypes.keys.map { PickleName("torch", $0) } + [
        storageInfo, PickleName("torch", "Size"), PickleName("torch.serialization", "_get_layout"),
        PickleName("collections", "OrderedDict"), PickleName("pathlib", "PosixPath"),
        PickleName("pathlib", "PurePosixPath"), PickleName("pathlib._local", "PosixPath"),
      ]
  ).union(roots)

  func bad(_ message: String) -> Fault {
    Fault(
      .badCheckpointIndex, "the index is not usable: \(message)", at: .file(path),
      fix: "copy the checkpoint again, or load an older one")
  }

  func rootFields() throws(Fault) -> [String: PickleGraph.Index] {
    guard let (name, state) = graph.object(graph.root), Self.roots.contains(name), let state else {
      throw bad("it holds \(graph.kind(graph.root)) instead of Metadata")
    }
    let fields = try fields(state)
    for (key, value) in fields where !Self.opaque.contains(key) {
      try checkNames(below: value)
    }
    return fields
  }

  /// Every name below a node must be a known one.
  private func checkNames(below root: PickleGraph.Index) throws(Fault) {
    var seen = [Bool](repeating: false, count: graph.nodes.count)
    var queue = [root]
    while let index = queue.popLast() {
      if seen[Int(index)] { continue }
      seen[Int(index)] = true
      switch graph[index] {
      case .global(let number):
        let name = graph.names[Int(number)]
        guard Self.known.contains(name) else {
          throw Fault(
            .pickleNotAllowed, "the index names \(name.description.prefix(200))", at: .file(path),
            fix: "do not use this checkpoint")
        }
      case .tuple(let at, let count): queue += graph.children[Int(at)..<Int(at) + Int(count)]
      case .list(let n), .set(let n), .frozenSet(let n), .dict(let n): queue += graph.lists[Int(n)]
      case .persistent(let inner): queue.append(inner)
      case .call(let n), .object(let n):
        let build = graph.builds[Int(n)]
        queue += [build.function, build.arguments]
        if build.keywords >= 0 { queue.append(build.keywords) }
        if build.state >= 0 { queue.append(build.state) }
        if build.members >= 0 { queue += graph.lists[Int(build.members)] }
        if build.items >= 0 { queue += graph.lists[Int(build.items)] }
      default: break
      }
    }
  }

  func members(
    _ index: PickleGraph.Index
  ) throws(Fault) -> [(key: PickleGraph.Index, value: PickleGraph.Index)] {
    guard let flat = graph.dict(index) else {
      throw bad("\(graph.kind(index)) stands where a dictionary should")
    }
    return stride(from: 0, to: flat.count, by: 2).map { (flat[$0], flat[$0 + 1]) }
  }

  private func fields(_ index: PickleGraph.Index) throws(Fault) -> [String: PickleGraph.Index] {
    var fields: [String: PickleGraph.Index] = [:]
    for (key, value) in try members(index) {
      guard let name = graph.text(key) else { throw bad("a field name is \(graph.kind(key))") }
      fields[name] = value
    }
    return fields
  }

  private func fields(
    _ index: PickleGraph.Index, of expected: PickleName
  ) throws(Fault) -> [String: PickleGraph.Index] {
    guard let (name, state) = graph.object(index), name == expected, let state else {
      throw bad("\(graph.kind(index)) stands where \(expected) should")
    }
    return try fields(state)
  }

  /// `torch.Size`, a tuple or a list of non-negative integers.
  func size(_ index: PickleGraph.Index?) throws(Fault) -> [Int] {
    guard var place = index else { throw bad("a size is missing") }
    if let (name, arguments) = graph.call(place), name == PickleName("torch", "Size"),
      arguments.count == 1, let first = arguments.first
    {
      place = first
    }
    guard let items = graph.tuple(place) ?? graph.list(place)?[...] else {
      throw bad("\(graph.kind(place)) stands where a size should")
    }
    let values = items.compactMap { graph.int($0) }
    guard values.count == items.count, values.allSatisfy({ $0 >= 0 }),
      values.count <= TensorRecord.rankLimit
    else { throw bad("a size is not a short list of non-negative integers") }
    return values
  }

  /// A tensor entry, or nil for a byte object.
  func tensor(_ index: PickleGraph.Index, _ key: String) throws(Fault) -> Tensor? {
    guard let (name, _) = graph.object(index) else {
      throw bad("\(key) is \(graph.kind(index))")
    }
    if name == PickleName(Self.module, "BytesStorageMetadata") { return nil }
    let fields = try fields(index, of: PickleName(Self.module, "TensorStorageMetadata"))
    guard let properties = fields["properties"], let list = fields["chunks"],
      let chunks = graph.list(list)
    else { throw bad("\(key) lacks its properties or chunks") }
    var boxes: [Box] = []
    for chunk in chunks {
      let parts = try self.fields(chunk, of: PickleName(Self.module, "ChunkStorageMetadata"))
      boxes.append(Box(offsets: try size(parts["offsets"]), sizes: try size(parts["sizes"])))
    }
    return Tensor(dtype: try dtype(properties, key), shape: try size(fields["size"]), boxes: boxes)
  }

  /// `TensorProperties` holds a tuple of five members, six in newer torch; the first is the type.
  private func dtype(_ index: PickleGraph.Index, _ key: String) throws(Fault) -> DType {
    guard let (name, state) = graph.object(index),
      name == PickleName(Self.module, "TensorProperties"), let state,
      let parts = graph.tuple(state), parts.count == 5 || parts.count == 6,
      let type = graph.name(parts[parts.startIndex]), type.module == "torch"
    else { throw bad("\(key) has unknown properties") }
    guard let dtype = TorchTypes.dtypes[type.name] else {
      throw Fault(
        .unsupportedCheckpoint, "elements of type \(type) are not read",
        at: .tensor(key, file: path))
    }
    guard let layout = graph.call(parts[parts.startIndex + 1]),
      layout.name == PickleName("torch.serialization", "_get_layout"),
      let text = layout.arguments.first, graph.text(text) == "torch.strided"
    else {
      throw Fault(
        .unsupportedCheckpoint, "only dense tensors are read", at: .tensor(key, file: path))
    }
    return dtype
  }

  /// The place of every piece: key, then begin (nil for an object).
  func places(
    _ index: PickleGraph.Index
  ) throws(Fault) -> [String: [[Int]?: ItemLocation]] {
    var places: [String: [[Int]?: ItemLocation]] = [:]
    for (key, value) in try members(index) {
      let fields = try fields(key, of: PickleName(Self.module, "MetadataIndex"))
      guard let fqn = fields["fqn"].flatMap({ graph.text($0) }) else {
        throw bad("an item has no name")
      }
      var begin: [Int]?
      if let offset = fields["offset"], case .none = graph[offset] {
      } else if let offset = fields["offset"] {
        begin = try size(offset)
      }
      let place = try place(value, fqn)
      guard places[fqn, default: [:]].updateValue(place, forKey: begin) == nil else {
        throw bad("\(fqn) has two places for one piece")
      }
    }
    return places
  }

  private func place(_ index: PickleGraph.Index, _ key: String) throws(Fault) -> ItemLocation {
    let fields = try fields(index, of: Self.storageInfo)
    if let transforms = fields["transform_descriptors"] {
      let empty = graph.list(transforms)?.isEmpty ?? graph.tuple(transforms)?.isEmpty ?? false
      if case .none = graph[transforms] {
      } else if !empty {
        throw Fault(
          .unsupportedCheckpoint, "its data was transformed (compressed) by the writer",
          at: .tensor(key, file: path), fix: "save without storage extensions")
      }
    }
    guard let file = fields["relative_path"].flatMap({ graph.text($0) }),
      let offset = fields["offset"].flatMap({ graph.int($0) }),
      let length = fields["length"].flatMap({ graph.int($0) })
    else { throw bad("the place of \(key) is not known") }
    try PlainName.check(file, in: path)
    guard offset >= 0, length > 0, offset <= Int.max - length else {
      throw bad("the place of \(key) is impossible: \(length) bytes at \(offset)")
    }
    return ItemLocation(file: file, offset: offset, length: length)
  }

  /// Nested paths of plain DCP; what does not fit is left out, nobody needs it to load.
  func paths(_ index: PickleGraph.Index?) -> [String: [String]] {
    guard let index, let flat = graph.dict(index) else { return [:] }
    var paths: [String: [String]] = [:]
    for i in stride(from: 0, to: flat.count, by: 2) {
      guard let key = graph.text(flat[i]), let parts = graph.tuple(flat[i + 1]) else { continue }
      let path = parts.compactMap { graph.text($0) ?? graph.int($0).map { String($0) } }
      if path.count == parts.count { paths[key] = path }
    }
    return paths
  }

  func unflattenedShapes(_ index: PickleGraph.Index?) throws(Fault) -> [String: [Int]] {
    guard let index, let flat = graph.dict(index) else { return [:] }
    var shapes: [String: [Int]] = [:]
    for i in stride(from: 0, to: flat.count, by: 2) {
      guard let key = graph.text(flat[i]), let inner = graph.dict(flat[i + 1]) else { continue }
      for j in stride(from: 0, to: inner.count, by: 2)
      where graph.text(inner[j]) == "nd_reformulated_orig_global_shape" {
        shapes[key] = try size(inner[j + 1])
      }
    }
    return shapes
  }
}
