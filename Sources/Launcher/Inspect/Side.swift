import Checkpoint
import Model
import Support
import Tensor

/// One side of a comparison: tensors under the names that both sides share, and a way to read rows.
struct Side {
  struct Entry {
    let name: String
    let dtype: DType
    let shape: [Int]
    var byteCount: Int { shape.reduce(dtype.size, *) }
    var isOptimizerState: Bool { name.hasPrefix("optimizer.") || name.hasPrefix("chained_") }
  }

  /// A run of elements in row-major order.
  typealias Read = (Entry, Range<Int>, UnsafeMutableRawBufferPointer) throws(Fault) -> Void
  /// All bytes of a tensor in row-major order, in parts.
  typealias Stream = (
    Entry, StreamMemory, (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) -> Void

  private(set) var entries: [Entry]
  let stream: Stream
  /// Nil for tensors that have to be put together, which is done from begin to end.
  let read: Read?

  private init(entries: [Entry], assembled stream: @escaping Stream) {
    self.entries = entries
    self.stream = stream
    read = nil
  }

  init(entries: [Entry], read: @escaping Read) {
    self.entries = entries
    self.read = read
    stream = { (entry, memory, emit) throws(Fault) in
      let memory = memory.transfer().bytes
      let step = max(1, memory.count / entry.dtype.size)
      let count = entry.shape.reduce(1, *)
      for first in stride(from: 0, to: count, by: step) {
        let part = first..<min(first + step, count)
        let bytes = UnsafeMutableRawBufferPointer(
          rebasing: memory[..<(part.count * entry.dtype.size)])
        try read(entry, part, bytes)
        try emit(UnsafeRawBufferPointer(bytes))
      }
    }
  }

  /// Without the entries of a kind of which the other side has none at all.
  func without(_ other: Side, _ kind: (Entry) -> Bool) -> Side {
    guard !other.entries.contains(where: kind) else { return self }
    var side = self
    side.entries.removeAll(where: kind)
    return side
  }

  /// Names as they are stored.
  static func plain(_ store: TensorStore) -> Side {
    Side(
      entries: store.tensors.map { Entry(name: $0.name, dtype: $0.dtype, shape: $0.shape) },
      read: { (entry, elements, target) throws(Fault) in
        try store.read(
          entry.name, leading: [], elements: elements, shape: entry.shape, into: target)
      })
  }

  /// Stacked layers and experts of Megatron keys as tensors of their own.
  static func unstacked(_ store: TensorStore) -> Side {
    var entries: [Entry] = []
    var places: [String: (key: String, leading: [Int])] = [:]
    for spec in store.tensors {
      for (name, leading) in Unstacked.places(spec) {
        let shape = Array(spec.shape.dropFirst(leading.count))
        entries.append(Entry(name: name, dtype: spec.dtype, shape: shape))
        places[name] = (spec.name, leading)
      }
    }
    return Side(
      entries: entries,
      read: { [places] (entry, elements, target) throws(Fault) in
        guard let place = places[entry.name] else { return }
        try store.read(
          place.key, leading: place.leading, elements: elements, shape: entry.shape, into: target)
      })
  }

  /// Published names. A Megatron checkpoint is seen through the names of the other side.
  /// - Throws: `FILE-001` when no config.json tells how the tensors belong together.
  static func published(
    _ store: TensorStore, names other: TensorStore, _ model: String?
  ) throws(Fault) -> Side {
    guard case .megatron(let location, let reader) = store else { return plain(store) }
    let folders = [other.path, location.root, model].compactMap { $0 }
    guard let home = folders.first(where: { Folder.kind($0 + "/config.json") == .file }) else {
      throw Fault(
        .missingFile, "no config.json tells how Megatron's tensors make up published ones",
        at: .file(other.path), fix: "name the folder of the model with --model")
    }
    let config = try QwenConfig(folder: home)
    var experts: ExpertLayout?
    if case .published(let folder) = other {
      experts = ExpertLayout.of(PublishedFolder(folder), config).layout
    }
    return try assembled(
      MegatronWeights(reader, config), NameMap(config, experts: experts))
  }

  /// A published folder whose experts are stacked as transformers 5 does it, in the order of the other
  /// folder; nil when the two have one order.
  /// - Throws: what reading `config.json` throws.
  static func reordered(
    _ folder: SafetensorsFolder, like other: SafetensorsFolder
  ) throws(Fault) -> Side? {
    let homes = [folder.path, other.path].filter { Folder.kind($0 + "/config.json") == .file }
    guard let home = homes.first else { return nil }
    let config = try QwenConfig(folder: home)
    let source = PublishedFolder(folder)
    let layout = ExpertLayout.of(PublishedFolder(other), config).layout
    guard ExpertLayout.of(source, config).layout == .stacked, layout != .stacked else { return nil }
    return try assembled(PublishedWeightSource(source, config), NameMap(config, experts: layout))
  }

  private static func assembled(
    _ source: some WeightSource, _ map: NameMap
  ) throws(Fault) -> Side {
    let assembly = PublishedAssembly(source, map)
    var entries: [Entry] = []
    for (name, shape) in assembly.tensors {
      entries.append(Entry(name: name, dtype: try assembly.dtype(of: name), shape: shape))
    }
    return Side(
      entries: entries,
      assembled: { (entry, memory, emit) throws(Fault) in
        try assembly.stream(entry.name, through: memory, emit)
      })
  }
}

/// The tensors inside a stored one: a layer, or an expert of a layer.
enum Unstacked {
  static func places(_ spec: TensorSpec) -> [(name: String, leading: [Int])] {
    var key = MegatronKey(stored: spec.name)
    let layers = key.layer == .stacked
    let experts = key.expert == .stacked
    guard layers || experts, spec.shape.count > (layers ? 1 : 0) + (experts ? 1 : 0) else {
      return [(spec.name, [])]
    }
    var result: [(String, [Int])] = []
    for layer in 0..<(layers ? spec.shape[0] : 1) {
      if layers { key.layer = .numbered(layer) }
      for expert in 0..<(experts ? spec.shape[layers ? 1 : 0] : 1) {
        if experts { key.expert = .numbered(expert) }
        result.append((key.stored, (layers ? [layer] : []) + (experts ? [expert] : [])))
      }
    }
    return result
  }
}
