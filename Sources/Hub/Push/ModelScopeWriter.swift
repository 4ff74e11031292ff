import Foundation
import Support

/// ModelScope: `models`, the batch of large files, `commit` with a list of actions.
struct ModelScopeWriter: RepositoryWriter {
  let client: HTTPClient
  let name: RepositoryName

  /// Larger files go apart from the commit, as do those with these endings.
  private static let largest = 64 << 10
  private static let largeEndings = [
    ".safetensors", ".bin", ".pt", ".pth", ".h5", ".gguf", ".onnx", ".npz", ".npy", ".parquet",
    ".model", ".zip", ".gz", ".mp4", ".png", ".jpg",
  ]
  /// Files that the hub itself reads.
  private static let inlineNames: Set<String> = [
    "README.md", "configuration.json", "config.json", ".gitattributes",
  ]
  private static let (publicModel, privateModel) = (5, 1)
  private static let batch = 256

  private var base: String { client.settings.endpoint(.modelScope) }
  private var repos: String { "\(base)/api/v1/repos/models/\(name.id)" }
  var address: String { "\(base)/models/\(name.id)" }

  /// The hub shows no model without it.
  var extra: [String: [UInt8]] {
    let facts = JSONObject([
      ("framework", .string("pytorch")), ("task", .string("text-generation")),
      ("allow_remote", .bool(true)),
    ])
    return ["configuration.json": Array(JSONValue.object(facts).write(.python).utf8)]
  }

  func prepare(isPrivate: Bool) throws(Fault) {
    do throws(Fault) {
      let answer = try client.send(
        HTTPRequest(.get, "\(base)/api/v1/models/\(name.id)"), name.title)
      let data = try ModelScopeReader.data(answer, name.title)
      guard isPrivate, data["Visibility"]?.int == Self.publicModel else { return }
      throw Fault(
        .badPush, "\(name.id) is a public repository", at: .flag("hub_private_repo"),
        fix: "make it private on its page, or take another name")
    } catch {
      guard error.code == .notInHub else { throw error }
    }
    let body = JSONObject([
      ("Path", .string(name.owner)), ("Name", .string(name.name)),
      ("Visibility", JSONValue(isPrivate ? Self.privateModel : Self.publicModel)),
      ("License", .string("Apache License 2.0")), ("ChineseName", .string("")),
    ])
    let answer = try client.send(
      HTTPRequest(post: "\(base)/api/v1/models", .object(body)), name.title)
    _ = try ModelScopeReader.data(answer, name.title)
  }

  func plan(_ files: [PushFolder.File]) throws(Fault) -> PushPlan {
    let listing = try ModelScopeReader(client: client, name: name).list(revision: nil)
    var plan = PushPlan()
    plan.changed = files.filter { !matches([$0], listing) }
    plan.largePaths = Set(
      files.filter { file in
        !Self.inlineNames.contains(Folder.name(file.path)) && file.size > 0
          && (file.size > Self.largest || Self.largeEndings.contains { file.path.hasSuffix($0) })
      }.map(\.path))
    return plan
  }

  func upload(
    _ files: [PushFolder.File], begin: (PushFolder.File) -> Void
  ) throws(Fault) {
    for start in stride(from: 0, to: files.count, by: Self.batch) {
      let part = files[start..<min(start + Self.batch, files.count)]
      let answer = try client.send(
        HTTPRequest(
          post: "\(repos)/info/lfs/objects/batch",
          .object(
            JSONObject([
              ("operation", .string("upload")), ("objects", LargeFileUpload.objects(part)),
            ]))),
        name.title)
      let list = try ModelScopeReader.data(answer, name.title)["objects"]?.array ?? []
      // Contents go to a host of their own below the hub's domain, which asks for the token too.
      try LargeFileUpload.send(
        Array(part), as: list, to: name, by: client, access: .site, begin)
    }
  }

  func commit(_ plan: PushPlan, message: String) throws(CommitFailure) -> String {
    let request: HTTPRequest
    do throws(Fault) {
      request = try self.request(plan, message)
    } catch {
      throw .other(error)
    }
    let answer: HTTPAnswer
    do throws(HTTPFailure) {
      answer = try client.once(request)
    } catch {
      throw .http(error)
    }
    do throws(Fault) {
      _ = try ModelScopeReader.data(answer, name.title)
      return address
    } catch {
      throw .other(error)
    }
  }

  private func request(_ plan: PushPlan, _ message: String) throws(Fault) -> HTTPRequest {
    var actions: [JSONValue] = []
    for file in plan.changed {
      let isLarge = plan.largePaths.contains(file.path)
      let content = isLarge ? "" : Data(try file.content()).base64EncodedString()
      actions.append(
        .object(
          JSONObject([
            ("action", .string("create")), ("path", .string(file.path)),
            ("type", .string(isLarge ? "lfs" : "normal")), ("size", JSONValue(file.size)),
            ("sha256", .string(isLarge ? file.sha256 : "")), ("content", .string(content)),
            ("encoding", .string(isLarge ? "" : "base64")),
          ])))
    }
    let body = JSONObject([("commit_message", .string(message)), ("actions", .array(actions))])
    return HTTPRequest(
      post: "\(repos)/commit/\(name.service.mainRevision)", .object(body))
  }

  func has(_ files: [PushFolder.File]) throws(Fault) -> Bool {
    matches(files, try ModelScopeReader(client: client, name: name).list(revision: nil))
  }
}
