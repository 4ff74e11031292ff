import Support

/// One of the two hubs.
public enum HubService: String, Sendable, CaseIterable {
  case modelScope, huggingFace

  /// For messages.
  public var title: String { self == .modelScope ? "ModelScope" : "Hugging Face" }
  /// The revision that is meant when none is named.
  var mainRevision: String { self == .modelScope ? "master" : "main" }
}

/// What a repository holds.
public enum RepositoryKind: String, Sendable {
  case model, dataset

  /// The part of an address.
  var plural: String { rawValue + "s" }
  /// For messages.
  var title: String { self == .model ? "model" : "data set" }
}

/// A repository of a hub: `owner/name`.
public struct RepositoryName: Sendable, Hashable {
  public let service: HubService
  public let kind: RepositoryKind
  public let id: String

  /// - Returns: nil for a text that cannot be an id.
  public init?(_ id: String, _ kind: RepositoryKind, in service: HubService) {
    let parts = id.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, parts.allSatisfy(Self.isName), id.utf8.count <= 200 else { return nil }
    (self.id, self.kind, self.service) = (id, kind, service)
  }

  private static func isName(_ part: Substring) -> Bool {
    guard let first = part.utf8.first, first != UInt8(ascii: "."), !part.hasSuffix(".git") else {
      return false
    }
    return !part.contains("..")
      && part.unicodeScalars.allSatisfy {
        $0.isASCII && ($0.properties.isAlphabetic || ("0"..."9").contains($0))
          || "._-".unicodeScalars.contains($0)
      }
  }

  public var owner: String { String(id.prefix { $0 != "/" }) }
  public var name: String { String(id.drop { $0 != "/" }.dropFirst()) }
}

/// A file of a repository as the hub lists it.
public struct RemoteFile: Sendable, Equatable {
  /// Below the repository, parts divided by `/`.
  public let path: String
  public let size: Int
  /// Lower hexadecimal digits; nil where the hub does not tell.
  var sha256: String?
  /// The name of the blob in git, of files that are no large ones.
  var gitDigest: String?

  /// - Returns: nil for a path that leads out of its folder.
  init?(path: String, size: Int, sha256: String? = nil, gitDigest: String? = nil) {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    let isSafe = parts.allSatisfy { part in
      !part.isEmpty && part != "." && part != ".." && part.utf8.count <= 255
        && !part.utf8.contains { $0 < 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "\\") }
    }
    guard isSafe, path.utf8.count <= 4096, size >= 0 else { return nil }
    (self.path, self.size) = (path, size)
    self.sha256 = sha256.flatMap { Self.digest($0, digits: 64) }
    self.gitDigest = gitDigest.flatMap { Self.digest($0, digits: 40) }
  }

  private static func digest(_ text: String, digits: Int) -> String? {
    let lower = text.lowercased()
    let isHex = lower.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    return lower.utf8.count == digits && isHex ? lower : nil
  }

  /// The name of its content in a cache.
  var contentName: String {
    if let known = sha256 ?? gitDigest { return known }
    let digest = Digest(.sha256)
    digest.update(text: path)
    return digest.hexadecimal()
  }
}
