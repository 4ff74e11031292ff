import Support

/// Sends one content to where the hub's list of actions says (git-lfs batch API: `basic`, and the
/// `multipart` of Hugging Face).
struct LargeFileUpload {
  let client: HTTPClient
  let file: PushFolder.File
  /// `actions` of the batch answer for this file.
  let actions: JSONValue
  /// Who sees the token where the content goes.
  let access: HTTPRequest.Access

  /// - Throws: `HUB-101`, `HUB-102`, `HUB-105`, `FILE-00x`.
  func run() throws(Fault) {
    guard let upload = actions["upload"], !upload.isNull else { return }
    guard let target = address(upload) else { throw bad("no address to send to") }
    let header = upload["header"]?.object ?? JSONObject()
    if let size = header["chunk_size"].flatMap({ $0.int ?? $0.string.flatMap { Int($0) } }) {
      try parts(header, size: size, complete: target)
    } else {
      var request = HTTPRequest(.put, target)
      request.access = access
      request.headers = Self.lines(header)
      request.body = try file.body()
      let answer = try client.send(request, file.path)
      try checkAnswer(answer)
    }
    guard let verify = actions["verify"], let place = address(verify) else { return }
    var request = HTTPRequest(
      post: place,
      Self.object(file))
    request.headers += Self.lines(verify["header"]?.object ?? JSONObject())
    _ = try client.send(request, file.path)
  }

  private func parts(_ header: JSONObject, size: Int, complete: String) throws(Fault) {
    let places = header.members.compactMap { key, value in
      Int(key).flatMap { number in value.string.map { (number, $0) } }
    }.sorted { $0.0 < $1.0 }
    guard size > 0, places.count == (file.size + size - 1) / size else {
      throw bad("\(places.count) parts of \(size) bytes for \(file.size) bytes")
    }
    var done: [JSONValue] = []
    for (index, place) in places.enumerated() {
      var request = HTTPRequest(.put, place.1)
      request.access = .nobody
      let start = index * size
      request.body = try file.body(from: start, count: min(size, file.size - start))
      let answer = try client.send(request, "\(file.path) part \(index + 1)")
      guard let tag = answer.headers["etag"], !tag.isEmpty else {
        throw bad("part \(index + 1) was taken without a tag")
      }
      done.append(
        .object(JSONObject([("partNumber", JSONValue(index + 1)), ("etag", .string(tag))])))
    }
    _ = try client.send(
      HTTPRequest(
        post: complete,
        .object(JSONObject([("oid", .string(file.sha256)), ("parts", .array(done))])),
        type: HuggingFaceWriter.largeFileType), file.path)
  }

  /// Some servers say in the body that they failed.
  private func checkAnswer(_ answer: HTTPAnswer) throws(Fault) {
    guard let value = try? answer.json(file.path), let code = value["Code"]?.int, code != 200 else {
      return
    }
    throw Fault(
      .badHubAnswer, "\(file.path): the hub does not take the content",
      found: value["Message"]?.string ?? "code \(code)")
  }

  /// The address of an action; of a mirror where the hub names itself.
  private func address(_ action: JSONValue) -> String? {
    guard let text = action["href"]?.string, WebAddress(text) != nil else { return nil }
    let own = client.settings.endpoint(client.service)
    let known = HubSettings.publicHuggingFace + "/"
    guard client.service == .huggingFace, text.hasPrefix(known) else { return text }
    return own + "/" + text.dropFirst(known.count)
  }

  private static func lines(_ header: JSONObject) -> [(name: String, value: String)] {
    header.members.compactMap { key, value in
      guard let text = value.string, !(key + text).contains(where: \.isNewline) else { return nil }
      return (key, text)
    }
  }

  private func bad(_ what: String) -> Fault {
    Fault(.badHubAnswer, "\(file.path): the hub's way to upload it cannot be used", found: what)
  }
}

extension LargeFileUpload {
  /// How the batch API names contents.
  static func objects(_ files: some Sequence<PushFolder.File>) -> JSONValue {
    .array(files.map { object($0) })
  }

  private static func object(_ file: PushFolder.File) -> JSONValue {
    .object(JSONObject([("oid", .string(file.sha256)), ("size", JSONValue(file.size))]))
  }

  /// Sends each content once, where it does not lie yet.
  /// - Parameter answers: the `objects` of the batch answer.
  /// - Throws: `HUB-105` for a content that the hub refuses or says nothing of; as `run`.
  static func send(
    _ files: [PushFolder.File], as answers: [JSONValue], to name: RepositoryName,
    by client: HTTPClient, access: HTTPRequest.Access, _ begin: (PushFolder.File) -> Void
  ) throws(Fault) {
    let objects = Dictionary(answers.map { ($0["oid"]?.string ?? "", $0) }) { first, _ in first }
    var sent: Set<String> = []
    for file in files where sent.insert(file.sha256).inserted {
      guard let object = objects[file.sha256] else {
        throw Fault(.badHubAnswer, "\(name.title): the hub does not say where \(file.path) goes")
      }
      if let error = object["error"], !error.isNull {
        throw Fault(
          .badHubAnswer, "\(file.path): the hub refuses the content",
          found: error["message"]?.string ?? error.write())
      }
      guard let actions = object["actions"], !actions.isNull else { continue }
      begin(file)
      try LargeFileUpload(client: client, file: file, actions: actions, access: access).run()
    }
  }
}
