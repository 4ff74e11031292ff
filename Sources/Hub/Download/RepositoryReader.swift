import Support

/// The files of a repository at one commit.
struct RemoteListing: Sendable, Equatable {
  /// What the revision means now.
  let commit: String
  let files: [RemoteFile]
}

/// How a hub tells what is in a repository and gives its files out.
protocol RepositoryReader: Sendable {
  /// - Parameter revision: nil: the main branch.
  /// - Throws: `HUB-101`, `HUB-102`, `HUB-103`, `HUB-105`.
  func list(revision: String?) throws(Fault) -> RemoteListing
  /// The request that fetches a file.
  func request(_ file: RemoteFile, commit: String) -> HTTPRequest
}

extension RepositoryName {
  func reader(_ settings: HubSettings) -> any RepositoryReader {
    let client = HTTPClient(settings: settings, service: service)
    switch service {
    case .huggingFace: return HuggingFaceReader(client: client, name: self)
    case .modelScope: return ModelScopeReader(client: client, name: self)
    }
  }

  /// For messages.
  var title: String { "\(kind.title) \(id)" }
}

/// Files that a listing may hold: more is not a data set, but a fault of the server.
let listingLimit = 500_000

/// Hugging Face: `/api/models/ID/revision/REV` and `/api/models/ID/tree/COMMIT`.
struct HuggingFaceReader: RepositoryReader {
  let client: HTTPClient
  let name: RepositoryName

  private var base: String { client.settings.endpoint(.huggingFace) }
  private var api: String { "\(base)/api/\(name.kind.plural)/\(name.id)" }

  func commit(revision: String?) throws(Fault) -> String {
    let wanted = WebAddress.escaped(revision ?? name.service.mainRevision)
    let answer = try client.send(HTTPRequest(.get, "\(api)/revision/\(wanted)"), name.title)
    let commit = try answer.json(name.title)["sha"]?.string ?? ""
    guard !commit.isEmpty, commit.utf8.count <= 100,
      commit.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) })
    else { throw Fault(.badHubAnswer, "\(name.title): the hub names no commit", found: commit) }
    return commit
  }

  func list(revision: String?) throws(Fault) -> RemoteListing {
    let commit = try commit(revision: revision)
    var files: [RemoteFile] = []
    var page: String? = "\(api)/tree/\(commit)?recursive=true&expand=false"
    while let address = page {
      let answer = try client.send(HTTPRequest(.get, address), name.title)
      let items = try answer.json(name.title).array ?? []
      for item in items where item["type"]?.string == "file" { files.append(try file(item)) }
      guard files.count <= listingLimit, !items.isEmpty || files.isEmpty else { break }
      page = try next(answer, after: address)
    }
    return RemoteListing(commit: commit, files: files)
  }

  private func file(_ item: JSONValue) throws(Fault) -> RemoteFile {
    let large = item["lfs"]
    guard let path = item["path"]?.string, let size = (large?["size"] ?? item["size"])?.int,
      let file = RemoteFile(
        path: path, size: size, sha256: (large?["oid"] ?? large?["sha256"])?.string,
        gitDigest: large?.object == nil ? item["oid"]?.string : nil)
    else {
      throw Fault(
        .badHubAnswer, "\(name.title): the hub lists a file that cannot be taken",
        found: String(item.write().prefix(200)))
    }
    return file
  }

  /// The next page, which must lie on the same host.
  private func next(_ answer: HTTPAnswer, after address: String) throws(Fault) -> String? {
    guard let links = answer.headers["link"] else { return nil }
    for link in links.split(separator: ",") where link.contains("rel=\"next\"") {
      let target = link.drop { $0 != "<" }.dropFirst().prefix { $0 != ">" }
      let here = WebAddress(address)
      guard let next = here?.following(String(target)), next != here,
        here.map(next.hasOrigin(of:)) == true
      else { throw Fault(.badHubAnswer, "\(name.title): the list goes on at another host") }
      return next.text
    }
    return nil
  }

  func request(_ file: RemoteFile, commit: String) -> HTTPRequest {
    let prefix = name.kind == .dataset ? "datasets/" : ""
    let path = WebAddress.escaped(file.path, keepingSlashes: true)
    return HTTPRequest(.get, "\(base)/\(prefix)\(name.id)/resolve/\(commit)/\(path)")
  }
}

/// ModelScope: `/api/v1/models/ID/repo/files`, `/api/v1/datasets/ID/repo/tree`.
struct ModelScopeReader: RepositoryReader {
  let client: HTTPClient
  let name: RepositoryName
  static let pageSize = 200

  private var api: String {
    "\(client.settings.endpoint(.modelScope))/api/v1/\(name.kind.plural)/\(name.id)"
  }

  func list(revision: String?) throws(Fault) -> RemoteListing {
    let wanted = revision ?? name.service.mainRevision
    let query = "Revision=\(WebAddress.escaped(wanted))&Recursive=True"
    var files: [RemoteFile] = []
    if name.kind == .model {
      files = try page("\(api)/repo/files?\(query)").files
    } else {
      var number = 1
      while files.count <= listingLimit {
        let part = try page(
          "\(api)/repo/tree?\(query)&PageNumber=\(number)&PageSize=\(Self.pageSize)")
        files += part.files
        guard part.entries >= Self.pageSize else { break }
        number += 1
      }
    }
    return RemoteListing(commit: wanted, files: files)
  }

  private func page(_ address: String) throws(Fault) -> (files: [RemoteFile], entries: Int) {
    let answer = try client.send(HTTPRequest(.get, address), name.title)
    let data = try Self.data(answer, name.title)
    let items = data.array ?? data["Files"]?.array ?? []
    var files: [RemoteFile] = []
    for item in items where item["Type"]?.string != "tree" {
      guard let path = item["Path"]?.string, let size = item["Size"]?.int,
        let file = RemoteFile(path: path, size: size, sha256: item["Sha256"]?.string)
      else {
        throw Fault(
          .badHubAnswer, "\(name.title): the hub lists a file that cannot be taken",
          found: String(item.write().prefix(200)))
      }
      files.append(file)
    }
    return (files, items.count)
  }

  /// The member `Data` of an answer.
  /// - Throws: `HUB-103`, `HUB-105` for an answer that says that it failed.
  static func data(_ answer: HTTPAnswer, _ what: String) throws(Fault) -> JSONValue {
    let value = try answer.json(what)
    let code = value["Code"]?.int ?? value["code"]?.int ?? 200
    guard code == 200, (value["Success"] ?? value["success"])?.bool != false else {
      throw Fault(
        code == 404 || code == 10_010_205_001 ? .notInHub : .badHubAnswer,
        "\(what): ModelScope refuses the request",
        found: (value["Message"] ?? value["message"])?.string ?? "code \(code)")
    }
    return value["Data"] ?? value["data"] ?? value
  }

  func request(_ file: RemoteFile, commit: String) -> HTTPRequest {
    let query =
      "Revision=\(WebAddress.escaped(commit))&FilePath=\(WebAddress.escaped(file.path))"
    return HTTPRequest(.get, "\(api)/repo?\(query)")
  }
}
