import Foundation
import Support

/// The parts of an http address that decide who may see what.
struct WebAddress: Equatable {
  let scheme: String
  let host: String
  let port: Int
  let text: String

  /// - Returns: nil for anything but http and https, and for an address with a name in it.
  init?(_ text: String) {
    guard let parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(),
      scheme == "http" || scheme == "https", let host = parts.host?.lowercased(), !host.isEmpty,
      parts.user == nil, parts.password == nil
    else { return nil }
    self.scheme = scheme
    self.host = host
    port = parts.port ?? (scheme == "https" ? 443 : 80)
    self.text = text
  }

  /// Where a `Location` leads from here.
  func following(_ location: String) -> WebAddress? {
    guard let base = URL(string: text), let url = URL(string: location, relativeTo: base) else {
      return nil
    }
    return WebAddress(url.absoluteURL.absoluteString)
  }

  var isOfThisMachine: Bool { ["localhost", "127.0.0.1", "::1", "[::1]"].contains(host) }

  /// Whether a token would travel in the open.
  var isOpen: Bool { scheme == "http" && !isOfThisMachine }

  func hasOrigin(of other: WebAddress) -> Bool {
    scheme == other.scheme && host == other.host && port == other.port
  }

  /// Whether both belong to one site: the same host, or over https two hosts below one domain.
  func isInSite(of other: WebAddress) -> Bool {
    if hasOrigin(of: other) { return true }
    guard scheme == "https", other.scheme == "https" else { return false }
    let labels = other.host.split(separator: ".")
    // Numbers are no names, and a domain such as `com` is nobody's.
    guard labels.count >= 2, Int(labels[labels.count - 1]) == nil, !other.host.contains(":") else {
      return false
    }
    let site = labels.suffix(2).joined(separator: ".")
    return host == site || host.hasSuffix("." + site)
  }

  /// A text as one part of a path, or as a value of a query.
  static func escaped(_ text: String, keepingSlashes: Bool = false) -> String {
    var plain = CharacterSet(
      charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
    if keepingSlashes { plain.insert("/") }
    return text.addingPercentEncoding(withAllowedCharacters: plain) ?? text
  }

  /// The address without its query, which may hold a signature.
  static func shown(_ text: String) -> String {
    String(text.prefix { $0 != "?" && $0 != "#" }.prefix(200))
  }
}
