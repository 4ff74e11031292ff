import Support

/// One file over http or https.
struct Download: Sendable {
  let address: String
  /// Seconds for the whole.
  let timeout: Double
  let limit: Int

  /// - Throws: `DATA-405`.
  func bytes(_ name: MediumName) throws(Fault) -> [UInt8] {
    throw name.bad("is not on this machine", fix: "download it first", code: .badDownload)
  }
}
