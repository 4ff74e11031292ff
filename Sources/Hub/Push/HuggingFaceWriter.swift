import Foundation
import Support

/// Hugging Face: `repos/create`, `preupload`, the batch of large files, `commit` as lines of JSON.
struct HuggingFaceWriter: RepositoryWriter {
  let client: HTTPClient
  let name: RepositoryName

  static let largeFileType = "application/vnd.git-lfs+json"
  /// Files of one request, as the hub's own client has it.
  private static let batch = 256

  private var base: String { client.settings.endpoint(.huggingFace) }
  private var api: String { "\(base)/api/models/\(name.id)" }
  var address: String { "\(base)/\(name.id)" }
  var extra: [String: [UInt8]] { [:] }

  func prepare(isPrivate: Bool) throws(Fault) {
    let body = JSONObject([
      ("name", .string(name.name)), ("organization", .string(name.owner)),
      ("type", .string("model")), ("private", .bool(isPrivate)),
    ])
    do throws(Fault) {
      _ = try client.repeating(name.title) { () throws(HTTPFailure) in
        do throws(HTTPFailure) {
          return try client.once(HTTPRequest(post: "\(base)/api/repos/create", .object(body)))
        } catch {
          // It is there already.
          guard error.code == 409 else { throw error }
          return HTTPAnswer(status: 200, headerLines: "", body: [])
        }
      }
    } catch {
      // A token for one repository may not make others: is this one there?
      guard error.code == .hubDenied, (try? information()) != nil else { throw error }
    }
    guard isPrivate, try information()["private"]?.bool == false else { return }
    throw Fault(
      .badPush, "\(name.id) is a public repository", at: .flag("hub_private_repo"),
      fix: "make it private on its page, or take another name")
  }

  private func information() throws(Fault) -> JSONValue {
    try client.send(HTTPRequest(.get, api), name.title).json(name.title)
  }

  func plan(_ files: [PushFolder.File]) throws(Fault) -> PushPlan {
    var plan = PushPlan()
    plan.parent = try HuggingFaceReader(client: client, name: name).commit(revision: nil)
    for start in stride(from: 0, to: files.count, by: Self.batch) {
      let part = Array(files[start..<min(start + Self.batch, files.count)])
      var items: [JSONValue] = []
      for file in part { items.append(try item(file)) }
      let answer = try client.send(
        HTTPRequest(
          post: "\(api)/preupload/main", .object(JSONObject([("files", .array(items))]))),
        name.title)
      try add(part, try answer.json(name.title)["files"]?.array ?? [], to: &plan)
    }
    return plan
  }

  private func item(_ file: PushFolder.File) throws(Fault) -> JSONValue {
    var sample = file.made
    if let place = file.place {
      sample = try PosixFile(reading: place).read(min(512, file.size), at: 0)
    }
    return .object(
      JSONObject([
        ("path", .string(file.path)), ("size", JSONValue(file.size)),
        ("sample", .string(Data(sample.prefix(512)).base64EncodedString())),
      ]))
  }

  private func add(
    _ files: [PushFolder.File], _ answers: [JSONValue], to plan: inout PushPlan
  ) throws(Fault) {
    let modes = Dictionary(answers.map { ($0["path"]?.string ?? "", $0) }) { first, _ in first }
    for file in files {
      guard let mode = modes[file.path], let way = mode["uploadMode"]?.string else {
        throw Fault(.badHubAnswer, "\(name.title): the hub does not say how \(file.path) goes")
      }
      if mode["shouldIgnore"]?.bool == true { continue }
      // Nothing can be stored apart that has no bytes.
      let isLarge = way == "lfs" && file.size > 0
      if let known = mode["oid"]?.string, known == (isLarge ? file.sha256 : file.gitDigest) {
        continue
      }
      plan.changed.append(file)
      if isLarge { plan.largePaths.insert(file.path) }
    }
  }

  func upload(
    _ files: [PushFolder.File], begin: (PushFolder.File) -> Void
  ) throws(Fault) {
    for start in stride(from: 0, to: files.count, by: Self.batch) {
      let part = files[start..<min(start + Self.batch, files.count)]
      let body = JSONObject([
        ("operation", .string("upload")),
        ("transfers", .array([.string("basic"), .string("multipart")])),
        ("objects", LargeFileUpload.objects(part)), ("hash_algo", .string("sha256")),
        ("ref", .object(JSONObject([("name", .string("main"))]))),
      ])
      let answer = try client.send(
        HTTPRequest(
          post: "\(base)/\(name.id).git/info/lfs/objects/batch", .object(body),
          type: Self.largeFileType), name.title)
      try LargeFileUpload.send(
        Array(part), as: try answer.json(name.title)["objects"]?.array ?? [], to: name,
        by: client, access: .nobody, begin)
    }
  }

  func commit(_ plan: PushPlan, message: String) throws(CommitFailure) -> String {
    let body: CommitBody
    do throws(Fault) {
      body = try CommitBody(plan, message: message)
    } catch {
      throw .other(error)
    }
    do throws(HTTPFailure) {
      var request = HTTPRequest(.post, "\(api)/commit/main")
      request.headers = [("Content-Type", "application/x-ndjson")]
      request.body = .file(body.file, from: 0, count: body.count)
      let answer = try client.once(request)
      return (try? answer.json(name.title))?["commitUrl"]?.string ?? address
    } catch {
      throw .http(error)
    }
  }

  func has(_ files: [PushFolder.File]) throws(Fault) -> Bool {
    matches(files, try HuggingFaceReader(client: client, name: name).list(revision: nil))
  }
}

/// The lines of a commit in a file of its own: small files are in it whole, and may be many.
private final class CommitBody {
  let file: PosixFile
  private(set) var count = 0

  init(_ plan: PushPlan, message: String) throws(Fault) {
    let path = NSTemporaryDirectory() + "/megatron-commit-" + AtomicFile.uniqueName()
    file = try PosixFile(creating: path)
    // It has no name from here on, and goes with its last user.
    unlink(path)
    var header = JSONObject([("summary", .string(message)), ("description", .string(""))])
    header["parentCommit"] = plan.parent.map { .string($0) }
    try add("header", header)
    for item in plan.changed {
      if plan.largePaths.contains(item.path) {
        try add(
          "lfsFile",
          JSONObject([
            ("path", .string(item.path)), ("algo", .string("sha256")),
            ("oid", .string(item.sha256)), ("size", JSONValue(item.size)),
          ]))
      } else {
        let content = Data(try item.content()).base64EncodedString()
        try add(
          "file",
          JSONObject([
            ("path", .string(item.path)), ("encoding", .string("base64")),
            ("content", .string(content)),
          ]))
      }
    }
  }

  private func add(_ key: String, _ value: JSONObject) throws(Fault) {
    let line = JSONObject([("key", .string(key)), ("value", .object(value))])
    let bytes = Array((JSONValue.object(line).write() + "\n").utf8)
    let at = count
    try bytes.withRaw { (raw) throws(Fault) in try file.write(raw, at: at) }
    count += bytes.count
  }
}
