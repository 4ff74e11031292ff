import Checkpoint
import Foundation
import Support
import Tensor

/// Small fp32 safetensors files.
enum FloatTensors {
  static func write(_ tensors: [(name: String, shape: [Int], values: [Float])], to path: String)
    throws(Fault)
  {
    let writer = try SafetensorsWriter(
      path, tensors: tensors.map { TensorSpec($0.name, .float32, $0.shape) })
    for (name, _, values) in tensors {
      try values.withUnsafeBufferPointer { (p) throws(Fault) in
        try writer.append(name, UnsafeRawBufferPointer(p))
      }
    }
    try writer.finish()
  }
}

/// Text files that appear whole.
enum AtomicText {
  static func write(_ text: String, to path: String) throws(Fault) {
    try AtomicFile.write(Array(text.utf8), to: path)
  }
}
