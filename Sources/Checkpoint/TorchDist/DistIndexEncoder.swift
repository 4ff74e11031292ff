import Support
import Tensor

/// Writes `.metadata` so that every torch from 2.6 on and megatron-core take it: five properties,
/// `planner_data` for every key, protocol 2 without memo.
enum DistIndexEncoder {
  private struct Entry {
    let dtype: DType
    let shape: [Int]
    var boxes: [Box]
  }

  /// Joins the reports of all ranks, checks that all pieces tile their tensors.
  /// - Throws: `CKPT-131`, `CKPT-132`.
  static func encode(_ reports: [RankReport]) throws(Fault) -> [UInt8] {
    let items = reports.flatMap(\.items)
    var order: [String] = []
    var tensors: [String: Entry] = [:]
    var objects: Set<String> = []
    for item in items {
      func clash(_ message: String) -> Fault {
        Fault(.badCheckpointIndex, message, at: .tensor(item.key, file: item.location.file))
      }
      switch item.content {
      case .object:
        guard tensors[item.key] == nil, objects.insert(item.key).inserted else {
          throw clash("two ranks wrote it")
        }
        order.append(item.key)
      case .tensor(let dtype, let shape, let box):
        guard !objects.contains(item.key) else { throw clash("it is a tensor and an object") }
        if tensors[item.key] == nil {
          order.append(item.key)
          tensors[item.key] = Entry(dtype: dtype, shape: shape, boxes: [])
        }
        guard tensors[item.key]?.dtype == dtype, tensors[item.key]?.shape == shape else {
          throw clash("two ranks wrote it with different types or shapes")
        }
        tensors[item.key]?.boxes.append(box)
      }
    }
    for key in order {
      if let entry = tensors[key], let problem = Tiling.problem(entry.boxes, shape: entry.shape) {
        throw Fault(.badTiling, problem, at: .tensor(key), fix: "this is a fault of the program")
      }
    }
    var encoder = PickleEncoder()
    encoder.object(name("Metadata"))
    encoder.dict(["state_dict_metadata", "planner_data", "storage_data"]) { e, field in
      e.text(field)
      switch field {
      case "state_dict_metadata":
        e.dict(order) { e, key in
          e.text(key)
          write(tensors[key], &e)
        }
      case "planner_data":
        e.dict(order) { e, key in
          e.text(key)
          e.tuple(1) { $0.text(key) }
        }
      default: e.dict(items) { e, item in write(item, &e) }
      }
    }
    encoder.op("b")
    return encoder.finish()
  }

  private static func name(_ name: String) -> PickleName {
    PickleName(IndexInterpreter.module, name)
  }

  private static func write(_ entry: Entry?, _ e: inout PickleEncoder) {
    guard let entry else { return e.object(name("BytesStorageMetadata")) }
    e.object(name("TensorStorageMetadata"))
    e.dict(["properties", "size", "chunks"]) { e, field in
      e.text(field)
      switch field {
      case "properties": properties(entry.dtype, &e)
      case "size": size(entry.shape, &e)
      default:
        e.list(entry.boxes) { e, box in
          e.object(name("ChunkStorageMetadata"))
          e.dict([("offsets", box.offsets), ("sizes", box.sizes)]) { e, part in
            e.text(part.0)
            size(part.1, &e)
          }
          e.op("b")
        }
      }
    }
    e.op("b")
  }

  private static func properties(_ dtype: DType, _ e: inout PickleEncoder) {
    e.object(name("TensorProperties"))
    e.tuple(5) { e in
      e.global(PickleName("torch", TorchTypes.dtypeName(dtype)))
      e.call(PickleName("torch.serialization", "_get_layout"), [.text("torch.strided")])
      e.write(.bool(false))
      e.call(name("_MEM_FORMAT_ENCODING"), [.int(0)])
      e.write(.bool(false))
    }
    e.op("b")
  }

  private static func size(_ sizes: [Int], _ e: inout PickleEncoder) {
    e.call(PickleName("torch", "Size"), [.tuple(sizes.map { .int($0) })])
  }

  private static func write(_ item: WrittenItem, _ e: inout PickleEncoder) {
    e.object(name("MetadataIndex"))
    var fields: [(String, [Int]?)] = [("fqn", nil), ("index", nil)]
    if case .tensor(_, _, let box) = item.content { fields.append(("offset", box.offsets)) }
    e.dict(fields) { e, field in
      e.text(field.0)
      switch field.0 {
      case "fqn": e.text(item.key)
      case "offset": size(field.1 ?? [], &e)
      default: e.write(.none)
      }
    }
    e.op("b")
    e.object(IndexInterpreter.storageInfo)
    e.write(
      .dictionary([
        ("relative_path", .text(item.location.file)), ("offset", .int(item.location.offset)),
        ("length", .int(item.location.length)),
      ]))
    e.op("b")
  }
}
