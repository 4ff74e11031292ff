import Foundation
import Support

/// The protocol of ModelScope.
extension LocalHub {
  /// - Parameter parts: of the path, after `/api/v1`.
  func modelScope(_ request: ServedRequest, _ parts: [String]) -> ServedAnswer {
    if parts.first == "repos", parts.count >= 5 { return repos(request, Array(parts.dropFirst())) }
    if parts == ["models"], request.method == "POST" { return makeModel(request) }
    guard parts.count >= 3 else { return ServedAnswer(404) }
    let key = parts[0] + "/" + parts[1] + "/" + parts[2]
    guard let repository = state.withLock({ $0.repositories[key] }) else {
      return refusal("Record not found", 404)
    }
    if repository.isPrivate, !isWelcome(request) { return refusal("no permission", 403) }
    switch Array(parts.dropFirst(3)) {
    case []:
      return data(
        .object(JSONObject([("Visibility", JSONValue(repository.isPrivate ? 1 : 5))])))
    case ["repo", "files"], ["repo", "tree"]: return files(request, repository)
    case ["repo"]:
      let path = request.query["FilePath"] ?? ""
      guard let bytes = repository.files[path] else { return refusal("no such file", 404) }
      return part(of: bytes, request, name: path)
    default: return ServedAnswer(404)
    }
  }

  private func data(_ value: JSONValue) -> ServedAnswer {
    ServedAnswer(
      .object(
        JSONObject([("Code", JSONValue(200)), ("Data", value), ("Success", .bool(true))])))
  }

  private func refusal(_ text: String, _ status: Int) -> ServedAnswer {
    ServedAnswer(
      .object(
        JSONObject([
          ("Code", JSONValue(10_010_205_001)), ("Message", .string(text)),
          ("Success", .bool(false)),
        ])), status: status)
  }

  private func files(_ request: ServedRequest, _ repository: Repository) -> ServedAnswer {
    guard request.query["Revision"] == "master" else { return refusal("no such revision", 404) }
    let size = Int(request.query["PageSize"] ?? "") ?? .max
    let number = Int(request.query["PageNumber"] ?? "1") ?? 1
    let paths = repository.files.keys.sorted()
    let start = min(paths.count, size == .max ? 0 : (number - 1) * size)
    let page = paths[start..<min(paths.count, size == .max ? paths.count : start + size)]
    let items = page.map { path -> JSONValue in
      let bytes = repository.files[path] ?? []
      return .object(
        JSONObject([
          ("Path", .string(path)), ("Type", .string("blob")), ("Size", JSONValue(bytes.count)),
          ("Sha256", .string(Digest.sha256(bytes))),
        ]))
    }
    return data(.object(JSONObject([("Files", .array(items))])))
  }

  private func makeModel(_ request: ServedRequest) -> ServedAnswer {
    guard isWelcome(request) else { return refusal("no permission", 401) }
    guard let value = json(request.body), let owner = value["Path"]?.string,
      let name = value["Name"]?.string
    else { return refusal("bad request", 400) }
    state.withLock { state in
      var made = Repository()
      made.isPrivate = value["Visibility"]?.int == 1
      state.repositories["models/\(owner)/\(name)"] = made
    }
    return data(.object(JSONObject()))
  }

  private func repos(_ request: ServedRequest, _ parts: [String]) -> ServedAnswer {
    let key = parts[0] + "/" + parts[1] + "/" + parts[2]
    guard isWelcome(request) else { return refusal("no permission", 401) }
    guard state.withLock({ $0.repositories[key] }) != nil, let value = json(request.body) else {
      return refusal("Record not found", 404)
    }
    if parts.last == "batch" {
      let objects = (value["objects"]?.array ?? []).map { object -> JSONValue in
        let oid = object["oid"]?.string ?? ""
        var answer = JSONObject([("oid", .string(oid))])
        if state.withLock({ $0.store[oid] }) == nil {
          let place = JSONObject([("href", .string("\(otherAddress)/store/\(oid)"))])
          answer["actions"] = .object(JSONObject([("upload", .object(place))]))
        }
        return .object(answer)
      }
      return data(.object(JSONObject([("objects", .array(objects))])))
    }
    guard parts.count == 5, parts[3] == "commit" else { return ServedAnswer(404) }
    return commit(value, key)
  }

  private func commit(_ value: JSONValue, _ key: String) -> ServedAnswer {
    let isDone = state.withLock { state -> Bool in
      guard var repository = state.repositories[key] else { return false }
      for action in value["actions"]?.array ?? [] {
        guard let path = action["path"]?.string else { return false }
        if action["type"]?.string == "lfs" {
          guard let bytes = state.store[action["sha256"]?.string ?? ""] else { return false }
          repository.files[path] = bytes
          repository.large.insert(path)
        } else {
          guard let data = Data(base64Encoded: action["content"]?.string ?? "?") else {
            return false
          }
          repository.files[path] = [UInt8](data)
        }
      }
      repository.commits += 1
      state.repositories[key] = repository
      return true
    }
    return isDone ? data(.object(JSONObject())) : refusal("a file is missing", 400)
  }
}
