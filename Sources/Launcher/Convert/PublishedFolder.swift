import Checkpoint
import Model
import Support
import Tensor

/// A folder of safetensors files as `Model` reads published weights.
struct PublishedFolder: PublishedTensors {
  let folder: SafetensorsFolder

  init(_ folder: SafetensorsFolder) { self.folder = folder }

  /// - Throws: `FILE-001`, `CKPT-1xx` when the files are not what they should be.
  init(_ path: String, use: PosixFile.Use = .shared) throws(Fault) {
    folder = try SafetensorsFolder(path, use: use)
  }

  func describe(published name: String) -> (dtype: DType, shape: [Int])? {
    folder[name].map { ($0.dtype, $0.shape) }
  }

  func readElements(
    published name: String, _ elements: Range<Int>, into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try folder.read(name, elements: elements, into: target)
  }

  func streamElements(
    published name: String, _ elements: Range<Int>, wholly: Bool, through memory: StreamMemory,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let bytes = elements.count * (folder[name]?.dtype.size ?? 1)
    try folder.stream(
      name, elements: elements, through: memory.transfer(holding: wholly ? bytes : nil), emit)
  }
}
