import Foundation
import Support

/// The protocol of Hugging Face.
extension LocalHub {
  func huggingFace(_ request: ServedRequest, _ parts: [String]) -> ServedAnswer {
    if parts == ["api", "repos", "create"] { return create(request) }
    if parts.first == "api", parts.count >= 4 { return api(request, parts) }
    if parts.contains("lfs") { return largeFiles(request, parts) }
    let kind = parts.first == "datasets" ? "datasets" : "models"
    let rest = kind == "datasets" ? Array(parts.dropFirst()) : parts
    guard rest.count >= 5, rest[2] == "resolve",
      let repository = repository(rest[0] + "/" + rest[1], kind: kind)
    else { return ServedAnswer(404) }
    if repository.isPrivate, !isWelcome(request) { return ServedAnswer(401) }
    let path = rest[4...].joined(separator: "/")
    guard let bytes = repository.files[path] else { return ServedAnswer(404) }
    guard repository.large.contains(path) else { return part(of: bytes, request, name: path) }
    return ServedAnswer(
      302, headers: [("Location", "\(otherAddress)/store/\(Digest.sha256(bytes))")])
  }

  private func create(_ request: ServedRequest) -> ServedAnswer {
    guard isWelcome(request) else { return ServedAnswer(401) }
    guard let value = json(request.body), let name = value["name"]?.string,
      let owner = value["organization"]?.string
    else { return ServedAnswer(400) }
    return state.withLock { state in
      guard state.repositories["models/\(owner)/\(name)"] == nil else {
        return ServedAnswer(
          409, body: Array(#"{"error": "You already created this model repo"}"#.utf8))
      }
      var made = Repository()
      made.isPrivate = value["private"]?.bool ?? false
      made.files[".gitattributes"] = Array("*.safetensors filter=lfs\n".utf8)
      state.repositories["models/\(owner)/\(name)"] = made
      return ServedAnswer(.object(JSONObject([("url", .string("\(address)/\(owner)/\(name)"))])))
    }
  }

  private func api(_ request: ServedRequest, _ parts: [String]) -> ServedAnswer {
    let key = parts[1] + "/" + parts[2] + "/" + parts[3]
    guard let repository = state.withLock({ $0.repositories[key] }) else {
      return ServedAnswer(404, body: Array(#"{"error": "Repository not found"}"#.utf8))
    }
    if repository.isPrivate || request.method == "POST", !isWelcome(request) {
      return ServedAnswer(401, body: Array(#"{"error": "Invalid username or password."}"#.utf8))
    }
    switch parts.count > 4 ? parts[4] : "" {
    case "", "revision":
      guard parts.count < 6 || ["main", repository.head].contains(parts[5]) else {
        return ServedAnswer(404, body: Array(#"{"error": "Invalid rev id"}"#.utf8))
      }
      let files = repository.files.keys.sorted().map { path in
        JSONValue.object(JSONObject([("rfilename", .string(path))]))
      }
      return ServedAnswer(
        .object(
          JSONObject([
            ("id", .string(parts[2] + "/" + parts[3])), ("sha", .string(repository.head)),
            ("private", .bool(repository.isPrivate)), ("siblings", .array(files)),
          ])))
    case "tree": return tree(request, repository)
    case "preupload": return preupload(request, repository)
    case "commit": return commit(request, key)
    default: return ServedAnswer(404)
    }
  }

  private func tree(_ request: ServedRequest, _ repository: Repository) -> ServedAnswer {
    let paths = repository.files.keys.sorted()
    let start = Int(request.query["cursor"] ?? "0") ?? 0
    let page = paths[start..<min(start + behaviour.pageSize, paths.count)]
    let items = page.map { path -> JSONValue in
      let bytes = repository.files[path] ?? []
      var item = JSONObject([
        ("type", .string("file")), ("path", .string(path)), ("size", JSONValue(bytes.count)),
        ("oid", .string(Digest.blob(bytes))),
      ])
      if repository.large.contains(path) {
        item["lfs"] = .object(
          JSONObject([
            ("oid", .string(Digest.sha256(bytes))), ("size", JSONValue(bytes.count)),
            ("pointerSize", JSONValue(134)),
          ]))
      }
      return .object(item)
    }
    var answer = ServedAnswer(.array(items))
    if page.endIndex < paths.count {
      let next = "\(address)\(request.path)?recursive=true&cursor=\(page.endIndex)"
      answer.headers.append(("Link", "<\(next)>; rel=\"next\""))
    }
    return answer
  }

  private func preupload(_ request: ServedRequest, _ repository: Repository) -> ServedAnswer {
    guard let files = json(request.body)?["files"]?.array else { return ServedAnswer(400) }
    let modes = files.map { file -> JSONValue in
      let path = file["path"]?.string ?? ""
      let isLarge = (file["size"]?.int ?? 0) >= behaviour.largeFrom
      var mode = JSONObject([
        ("path", .string(path)), ("uploadMode", .string(isLarge ? "lfs" : "regular")),
        ("shouldIgnore", .bool(false)),
      ])
      if let bytes = repository.files[path] {
        mode["oid"] = .string(
          repository.large.contains(path) ? Digest.sha256(bytes) : Digest.blob(bytes))
      }
      return .object(mode)
    }
    return ServedAnswer(.object(JSONObject([("files", .array(modes))])))
  }

  /// What large files are missing, where they go, and the end of an upload in parts.
  private func largeFiles(_ request: ServedRequest, _ parts: [String]) -> ServedAnswer {
    if parts.last == "complete" { return complete(request) }
    guard isWelcome(request) else { return ServedAnswer(401) }
    if parts.last == "verify" {
      let content = json(request.body)?["oid"]?.string ?? ""
      return ServedAnswer(state.withLock { $0.store[content] } == nil ? 404 : 200)
    }
    guard let objects = json(request.body)?["objects"]?.array else { return ServedAnswer(400) }
    let answers = objects.map { object -> JSONValue in
      let (oid, size) = (object["oid"]?.string ?? "", object["size"]?.int ?? 0)
      var answer = JSONObject([("oid", .string(oid)), ("size", JSONValue(size))])
      if state.withLock({ $0.store[oid] }) == nil {
        answer["actions"] = .object(
          JSONObject([
            ("upload", upload(oid, size)),
            (
              "verify",
              .object(
                JSONObject([("href", .string("\(address)/\(parts[0])/\(parts[1])/lfs/verify"))]))
            ),
          ]))
      }
      return .object(answer)
    }
    return ServedAnswer(.object(JSONObject([("objects", .array(answers))])))
  }

  private func upload(_ oid: String, _ size: Int) -> JSONValue {
    guard size > behaviour.partSize else {
      return .object(
        JSONObject([
          ("href", .string("\(otherAddress)/store/\(oid)")), ("header", .object(JSONObject())),
        ]))
    }
    var header = JSONObject([("chunk_size", .string(String(behaviour.partSize)))])
    for number in 1...((size + behaviour.partSize - 1) / behaviour.partSize) {
      header[String(format: "%05d", number)] = .string("\(otherAddress)/store/\(oid)/\(number)")
    }
    return .object(
      JSONObject([
        ("href", .string("\(address)/owner/name/lfs/\(oid)/complete")), ("header", .object(header)),
      ]))
  }

  private func complete(_ request: ServedRequest) -> ServedAnswer {
    guard let value = json(request.body), let oid = value["oid"]?.string,
      let parts = value["parts"]?.array
    else { return ServedAnswer(400) }
    return state.withLock { state in
      var bytes: [UInt8] = []
      for (index, part) in parts.enumerated() {
        guard part["partNumber"]?.int == index + 1,
          part["etag"]?.string == "\"part-\(index + 1)\"",
          let content = state.parts[oid]?[index + 1]
        else { return ServedAnswer(400) }
        bytes += content
      }
      guard Digest.sha256(bytes) == oid else { return ServedAnswer(400) }
      state.store[oid] = bytes
      return ServedAnswer()
    }
  }

  private func commit(_ request: ServedRequest, _ key: String) -> ServedAnswer {
    let lines = request.body.split(separator: 0x0A).map { json(Array($0)) }
    return state.withLock { state in
      guard var repository = state.repositories[key], case let header?? = lines.first,
        header["key"]?.string == "header"
      else { return ServedAnswer(400) }
      if let parent = header["value"]?["parentCommit"]?.string, parent != repository.head {
        return ServedAnswer(412, body: Array(#"{"error": "A commit has happened since"}"#.utf8))
      }
      for line in lines.dropFirst() {
        guard let value = line?["value"], let path = value["path"]?.string else {
          return ServedAnswer(400)
        }
        if line?["key"]?.string == "lfsFile" {
          guard let bytes = state.store[value["oid"]?.string ?? ""],
            value["size"]?.int == bytes.count
          else { return ServedAnswer(400, body: Array(#"{"error": "no such large file"}"#.utf8)) }
          repository.files[path] = bytes
          repository.large.insert(path)
        } else {
          guard let data = Data(base64Encoded: value["content"]?.string ?? "?") else {
            return ServedAnswer(400)
          }
          repository.files[path] = [UInt8](data)
          repository.large.remove(path)
        }
      }
      repository.commits += 1
      state.repositories[key] = repository
      return ServedAnswer(
        .object(
          JSONObject([
            ("success", .bool(true)), ("commitOid", .string(repository.head)),
            ("commitUrl", .string("\(address)/\(key)/commit/\(repository.head)")),
          ])))
    }
  }

  func json(_ bytes: [UInt8]) -> JSONValue? {
    bytes.withUnsafeBytes { try? JSONValue.parse($0) }
  }
}
