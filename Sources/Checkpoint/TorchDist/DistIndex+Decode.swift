import Support
import Tensor

extension DistIndex {
  /// Reads and checks `.metadata`.
  /// - Throws: `CKPT-111` to `CKPT-113`, `CKPT-131` to `CKPT-134`, `FILE-001`, `FILE-002`.
  public init(path: String, limits: PickleLimits = PickleLimits()) throws(Fault) {
    let bytes = try AtomicFile.read(path, limit: limits.bytes)
    try self.init(bytes, path: path, limits: limits)
  }

  /// The same from bytes; `path` is for messages.
  init(_ bytes: [UInt8], path: String, limits: PickleLimits = PickleLimits()) throws(Fault) {
    let graph = try PickleDecoder.decode(bytes, path: path, allow: .inert, limits: limits)
    let reader = IndexInterpreter(graph: graph, path: path)
    let fields = try reader.rootFields()
    guard let tensors = fields["state_dict_metadata"], let storage = fields["storage_data"] else {
      throw reader.bad("it lacks state_dict_metadata or storage_data")
    }
    var places = try reader.places(storage)
    for (key, value) in try reader.members(tensors) {
      guard let name = graph.text(key) else { throw reader.bad("a key is \(graph.kind(key))") }
      guard self.tensors[name] == nil, objects[name] == nil else {
        throw reader.bad("the key \(name) is there twice")
      }
      keys.append(name)
      let found = places.removeValue(forKey: name) ?? [:]
      if let record = try reader.tensor(value, name) {
        self.tensors[name] = try Self.join(name, record, found, path: path)
      } else {
        guard found.count == 1, let place = found[nil] else {
          throw reader.bad("the object \(name) has no single place")
        }
        objects[name] = place
      }
    }
    if let extra = places.keys.min() { throw reader.bad("data of \(extra) that no key announces") }
    try checkSpans(path: path)
    paths = reader.paths(fields["planner_data"])
    unflattenedShapes = try reader.unflattenedShapes(fields["mcore_data"])
  }

  private static func join(
    _ name: String, _ record: IndexInterpreter.Tensor, _ found: [[Int]?: ItemLocation],
    path: String
  ) throws(Fault) -> StoredTensor {
    guard checkedProduct(record.shape, times: record.dtype.size) != nil else {
      throw Fault(
        .badTiling, "its shape \(record.shape) overflows", at: .tensor(name, file: path))
    }
    if let problem = Tiling.problem(record.boxes, shape: record.shape) {
      throw Fault(.badTiling, problem, at: .tensor(name, file: path))
    }
    var chunks: [StoredChunk] = []
    for box in record.boxes {
      guard let place = found[.some(box.offsets)] else {
        throw Fault(
          .badCheckpointIndex, "the piece at \(box.offsets) has no data",
          at: .tensor(name, file: path))
      }
      // So nobody allocates for a tensor more than the files could hold.
      guard box.count * record.dtype.size <= place.length else {
        throw Fault(
          .badCheckpointIndex, "the piece at \(box.offsets) is larger than its item",
          at: .tensor(name, file: path), expected: "\(box.count * record.dtype.size) bytes",
          found: "\(place.length)")
      }
      chunks.append(StoredChunk(box: box, location: place))
    }
    guard found.count == chunks.count else {
      throw Fault(
        .badCheckpointIndex, "it has data for \(found.count) pieces, \(chunks.count) are announced",
        at: .tensor(name, file: path))
    }
    return StoredTensor(spec: TensorSpec(name, record.dtype, record.shape), chunks: chunks)
  }

  /// Items of one file may not overlap.
  private func checkSpans(path: String) throws(Fault) {
    var spans: [String: [(begin: Int, end: Int, key: String)]] = [:]
    func add(_ place: ItemLocation, _ key: String) {
      spans[place.file, default: []].append((place.offset, place.offset + place.length, key))
    }
    for (key, place) in objects { add(place, key) }
    for (key, tensor) in tensors { for chunk in tensor.chunks { add(chunk.location, key) } }
    for (file, list) in spans {
      let sorted = list.sorted { $0.begin < $1.begin }
      for (a, b) in zip(sorted, sorted.dropFirst()) where b.begin < a.end {
        throw Fault(
          .badCheckpointIndex, "\(a.key) and \(b.key) overlap in \(file)", at: .file(path))
      }
    }
  }
}
