import Support

/// Where the patches of a medium lie in a file of encoded rows.
struct StoredPatches: Sendable, Hashable {
  let path: String
  /// Name of the array of bytes.
  let array: String
  let place: Range<Int>
  let slots: Int

  /// - Throws: `DATA-501`.
  func read() throws(Fault) -> MediaPatches {
    let bytes = try ArrayFile(reading: path).read(array, as: UInt8.self, place)
    return MediaPatches(bytes: bytes, slots: slots)
  }
}

extension MediaItem {
  /// The item as a file of encoded rows keeps it.
  var json: JSONValue {
    var object = recipe.json
    object["grid"] = .array([grid.t, grid.h, grid.w].map { JSONValue($0) })
    if let stored {
      object["patches"] = .array(
        [stored.place.lowerBound, stored.place.upperBound, stored.slots].map { JSONValue($0) })
    }
    return .object(object)
  }

  /// - Parameters:
  ///   - path: of the file, with the array of its patches.
  /// - Returns: nil for what `json` does not write.
  init?(_ json: JSONValue, path: String, array: String) {
    guard let grid = json["grid"]?.ints, grid.count == 3, grid.allSatisfy({ $0 > 0 }),
      let recipe = MediaRecipe(json)
    else { return nil }
    self.init(grid: MediaGrid(t: grid[0], h: grid[1], w: grid[2]), recipe: recipe)
    guard let place = json["patches"]?.ints else { return }
    guard place.count == 3, place[0] >= 0, place[0] <= place[1], place[2] > 0 else { return nil }
    stored = StoredPatches(path: path, array: array, place: place[0]..<place[1], slots: place[2])
  }
}

extension PictureSize {
  fileprivate var json: JSONValue { .array([JSONValue(height), JSONValue(width)]) }

  fileprivate init?(_ json: JSONValue?) {
    guard let sides = json?.ints, sides.count == 2, sides.allSatisfy({ $0 > 0 }) else { return nil }
    self.init(height: sides[0], width: sides[1])
  }
}

extension MediumName {
  fileprivate var json: JSONValue {
    var object = JSONObject([("field", .string(field))])
    switch source {
    case .file(let path): object["file"] = .string(path)
    case .address(let text): object["address"] = .string(text)
    case .inline(let text): object["inline"] = .string(text)
    }
    return .object(object)
  }

  fileprivate init?(_ json: JSONValue?) {
    guard let json, let field = json["field"]?.string else { return nil }
    if let path = json["file"]?.string {
      self.init(field: field, source: .file(path))
    } else if let text = json["address"]?.string {
      self.init(field: field, source: .address(text))
    } else if let text = json["inline"]?.string {
      self.init(field: field, source: .inline(text))
    } else {
      return nil
    }
  }
}

extension MediaRecipe {
  fileprivate var json: JSONObject {
    switch self {
    case .picture(let name, let capped, let size):
      return JSONObject([
        ("picture", name.json), ("capped", capped?.json ?? .null), ("size", size.json),
      ])
    case .clip(let name, let indices, let size):
      return JSONObject([
        ("clip", name.json), ("indices", .array(indices.map { JSONValue($0) })),
        ("size", size.json),
      ])
    case .list(let names, let each, let size):
      return JSONObject([
        ("list", .array(names.map(\.json))), ("each", each.json), ("size", size.json),
      ])
    }
  }

  fileprivate init?(_ json: JSONValue) {
    guard let size = PictureSize(json["size"]) else { return nil }
    if let name = MediumName(json["picture"]) {
      self = .picture(name, capped: PictureSize(json["capped"]), size: size)
    } else if let name = MediumName(json["clip"]), let indices = json["indices"]?.ints,
      !indices.isEmpty
    {
      self = .clip(name, indices: indices, size: size)
    } else if let list = json["list"]?.array, let each = PictureSize(json["each"]) {
      let names = list.compactMap { MediumName($0) }
      guard names.count == list.count, !names.isEmpty else { return nil }
      self = .list(names, each: each, size: size)
    } else {
      return nil
    }
  }
}
