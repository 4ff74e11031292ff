import Foundation

extension HubCaches {
  /// The folder of a downloaded model, if this machine has one.
  /// - Parameters:
  ///   - id: `owner/name`.
  ///   - prefersHuggingFace: `--use_hf`: which cache is looked at first.
  /// - Returns: the folder that was found, and every place that was looked at.
  public func model(
    _ id: String, prefersHuggingFace: Bool
  ) -> (folder: String?, tried: [String]) {
    let fromHuggingFace = ["\(huggingFace)/models--" + id.replacing("/", with: "--")]
    // ModelScope writes dots of names as three underscores.
    let plain = id.replacing(".", with: "___")
    let fromModelScope =
      ["\(modelScope)/models/\(id)", "\(modelScope)/models/\(plain)"]
      + ["\(modelScope)/\(id)", "\(modelScope)/\(plain)"]
    let tried =
      prefersHuggingFace ? fromHuggingFace + fromModelScope : fromModelScope + fromHuggingFace
    let found = tried.lazy.compactMap { HubCaches.snapshot(of: $0) }.first {
      FileManager.default.fileExists(atPath: $0 + "/config.json")
    }
    return (found, tried)
  }
}
