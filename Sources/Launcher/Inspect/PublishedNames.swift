import Checkpoint
import Model
import Support
import Tensor

/// Holds the tensors of a published folder against those its config.json asks for.
struct PublishedNames {
  let map: NameMap
  let published: PublishedFolder

  init(_ map: NameMap, _ published: PublishedFolder) {
    self.map = map
    self.published = published
  }

  /// Every published tensor must be used, and every one we need must be there.
  /// - Returns: what a user should know though it is no error.
  /// - Throws: `MODEL-103` naming tensors that are missing, unknown or of another shape.
  @discardableResult
  func check(at path: String) throws(Fault) -> [String] {
    let needed = Dictionary(uniqueKeysWithValues: map.published.map { ($0.name, $0.shape) })
    var wrong: [String] = []
    var notes: [String] = []
    for (name, shape) in map.published {
      guard let found = published.describe(published: name) else {
        wrong.append("\(name) is missing")
        continue
      }
      if found.shape != shape { wrong.append("\(name) is \(found.shape), expected \(shape)") }
    }
    for tensor in published.folder.tensors where needed[tensor.name] == nil {
      if map.config.tiesEmbeddings, tensor.name == "lm_head.weight" {
        notes.append("lm_head.weight is ignored: the embeddings are tied")
        continue
      }
      wrong.append("\(tensor.name) belongs to no part of the model")
    }
    guard wrong.isEmpty else {
      throw Fault(
        .badModelWeights, "the weights do not fit config.json", at: .file(path),
        found: wrong.prefix(8).joined(separator: "; ")
          + (wrong.count > 8 ? "; and \(wrong.count - 8) more" : ""))
    }
    return notes
  }
}
