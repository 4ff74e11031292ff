import Support

extension RowReader {
  /// Pictures, clips and sound, each as a list. One path stands for a list of one.
  mutating func readMedia(into row: inout StandardRow) throws(Fault) {
    for (i, item) in list("images").enumerated() {
      row.images.append(try image(item, field: "images[\(i)]"))
    }
    for (i, item) in list("videos").enumerated() {
      row.videos.append(try clip(item, field: "videos[\(i)]"))
    }
    for (i, item) in list("audios").enumerated() {
      row.audios.append(try clip(item, field: "audios[\(i)]"))
    }
  }

  private mutating func list(_ name: String) -> [JSONValue] {
    guard let value = take(name) else { return [] }
    return value.array ?? [value]
  }

  /// A picture as `{"path": ...}` or `{"bytes": ..., "path": ...}`.
  func image(_ value: JSONValue, field: String) throws(Fault) -> JSONValue {
    switch value {
    case .string: return .object(JSONObject([("path", value)]))
    case .object(let object) where object["path"]?.string != nil || object["bytes"]?.string != nil:
      return value
    default:
      throw bad("\(field) must be a path, found \(value.kind)", fix: "give the path of a picture")
    }
  }

  /// A clip: a path, or the paths of its frames.
  func clip(_ value: JSONValue, field: String) throws(Fault) -> JSONValue {
    switch value {
    case .string, .object: return value
    case .array(let frames):
      guard !frames.isEmpty else {
        throw bad("\(field) has no frames", fix: "list the paths of the frames, or drop the row")
      }
      for (i, frame) in frames.enumerated() where frame.string == nil && frame.object == nil {
        throw bad("\(field)[\(i)] must be a path, found \(frame.kind)")
      }
      return value
    default: throw bad("\(field) must be a path, found \(value.kind)")
    }
  }

  /// Boxes and references; swapped corners are put in order, x and y apart.
  mutating func readObjects(into row: inout StandardRow) throws(Fault) {
    guard let value = take("objects") else { return }
    guard let given = value.object else {
      throw bad("objects must be an object with ref and bbox, found \(value.kind)")
    }
    guard let boxes = given["bbox"]?.array else {
      throw bad("objects.bbox is missing", fix: "give a list of boxes, [] for none")
    }
    var ordered = JSONObject()
    ordered["ref"] = given["ref"]
    var sorted: [JSONValue] = []
    for (i, box) in boxes.enumerated() { sorted.append(try self.box(box, index: i)) }
    ordered["bbox"] = .array(sorted)
    if let type = given["bbox_type"], !type.isNull {
      guard type.string == "real" || type.string == "norm1" else {
        throw bad(
          "objects.bbox_type must be real or norm1, found \(type.write())",
          fix: "leave it out for boxes in pixels")
      }
      ordered["bbox_type"] = type
    }
    if let ids = given["image_id"], !ids.isNull {
      try checkImageIDs(ids, pictures: row.images.count)
      ordered["image_id"] = ids
    }
    row.objects = .object(ordered)
  }

  private func box(_ value: JSONValue, index: Int) throws(Fault) -> JSONValue {
    let field = "objects.bbox[\(index)]"
    guard var corners = value.array, corners.count == 2 || corners.count == 4 else {
      throw bad(
        "\(field): a box has 2 or 4 numbers, found \(value.array?.count ?? 0)",
        fix: "write [x1, y1, x2, y2], or [x, y] for a point")
    }
    var numbers: [Double] = []
    for corner in corners {
      guard let number = corner.double, number.isFinite else {
        throw bad("\(field) holds \(corner.write()), not a number")
      }
      numbers.append(number)
    }
    guard corners.count == 4 else { return value }
    for axis in 0..<2 where numbers[axis] > numbers[axis + 2] {
      corners.swapAt(axis, axis + 2)
    }
    return .array(corners)
  }

  private func checkImageIDs(_ value: JSONValue, pictures: Int) throws(Fault) {
    guard let ids = value.array else { throw bad("objects.image_id must be a list") }
    for id in ids {
      guard let number = id.int, number >= 0 else {
        throw bad("objects.image_id holds \(id.write()), not a whole number")
      }
      // Pictures may also stand as marks in the text; then their number is not known here.
      if pictures > 0, number >= pictures {
        throw bad(
          "image_id \(number), but \(pictures) picture\(pictures == 1 ? "" : "s")",
          fix: "image_id counts from 0")
      }
    }
  }
}
