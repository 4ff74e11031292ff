import Checkpoint
import Model
import Support
import Tensor

/// Anything that holds tensors by name: a Megatron checkpoint, a published folder, an adapter, a file.
enum TensorStore {
  case megatron(CheckpointLocation, TorchDistReader)
  case published(SafetensorsFolder)
  case adapter(AdapterFolder, SafetensorsFile)
  case file(SafetensorsFile)

  /// Opens what a path means, whatever form it has.
  /// - Throws: `CKPT-141` when it is none of these; what the forms throw.
  init(_ path: String, use: PosixFile.Use = .once) throws(Fault) {
    if Folder.kind(path) == .file {
      self = .file(try SafetensorsFile(path, use: use))
      return
    }
    let weights = path + "/" + AdapterFolder.weightsName
    if Folder.kind(path + "/" + AdapterConfig.fileName) == .file || Folder.kind(weights) == .file {
      self = .adapter(try AdapterFolder(path), try SafetensorsFile(weights, use: use))
    } else if TensorStore.isPublished(path) {
      self = .published(try SafetensorsFolder(path, use: use))
    } else {
      let location = try CheckpointLocator.resolve(path, patience: 0)
      self = .megatron(
        location, try TorchDistReader(location.folder, use: use, checks: PieceChecks()))
    }
  }

  static func isPublished(_ path: String) -> Bool {
    [SafetensorsFolder.singleName, SafetensorsFolder.indexName].contains {
      Folder.kind(path + "/" + $0) == .file
    }
  }

  /// Checks what was read in part only.
  /// - Throws: `CKPT-122`.
  func finish() throws(Fault) {
    if case .megatron(_, let reader) = self { try reader.finishChecks() }
  }

  /// Where it lies.
  var path: String {
    switch self {
    case .megatron(let location, _): return location.folder
    case .published(let folder): return folder.path
    case .adapter(let folder, _): return folder.path
    case .file(let file): return file.path
    }
  }

  var tensors: [TensorSpec] {
    switch self {
    case .megatron(_, let reader): return reader.index.keys.compactMap { reader[$0]?.spec }
    case .published(let folder): return folder.tensors
    case .adapter(_, let file), .file(let file): return file.tensors
    }
  }

  /// Reads a run of elements, in row-major order, of the part of a tensor at `leading` of its first
  /// dims; `shape` is that of the part.
  func read(
    _ name: String, leading: [Int], elements: Range<Int>, shape: [Int],
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    var done = 0
    let size = elements.isEmpty ? 1 : target.count / elements.count
    for box in ElementRun.boxes(elements, shape) {
      let count = box.reduce(1) { $0 * $1.count } * size
      let ranges = leading.map { $0..<$0 + 1 } + box
      try read(
        name, ranges,
        UnsafeMutableRawBufferPointer(rebasing: target[done..<done + count]))
      done += count
    }
  }

  private func read(
    _ name: String, _ ranges: [Range<Int>], _ target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    switch self {
    case .megatron(_, let reader): try reader.read(name, ranges: ranges, into: target)
    case .published(let folder): try folder.read(name, ranges: ranges, into: target)
    case .adapter(_, let file), .file(let file):
      try file.read(name, ranges: ranges, into: target)
    }
  }
}

/// A run of elements of a row-major tensor as boxes.
enum ElementRun {
  /// The fewest boxes whose elements, one box after the other, are the run.
  static func boxes(_ run: Range<Int>, _ shape: [Int]) -> [[Range<Int>]] {
    if run.isEmpty { return [] }
    guard let first = shape.first else { return [[]] }
    let rest = Array(shape.dropFirst())
    let width = max(rest.reduce(1, *), 1)
    var boxes: [[Range<Int>]] = []
    var at = run.lowerBound
    while at < run.upperBound {
      let row = at / width
      if at % width == 0, run.upperBound - at >= width {
        let last = min(run.upperBound / width, first)
        boxes.append([row..<last] + rest.map { 0..<$0 })
        at = last * width
      } else {
        let end = min((row + 1) * width, run.upperBound)
        let inner = ElementRun.boxes(at - row * width..<end - row * width, rest)
        boxes += inner.map { [row..<row + 1] + $0 }
        at = end
      }
    }
    return boxes
  }
}
