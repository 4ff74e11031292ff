import Support

/// How the hubs are reached.
public struct HubSettings: Sendable {
  /// Where each hub is, without a slash at the end.
  var endpoints: [HubService: String]
  var tokens: [HubService: Secret] = [:]
  public let caches: HubCaches
  /// The environment forbids it to ask a hub.
  var isOffline: Bool
  var connectSeconds = 20.0
  /// Seconds without a byte that end an attempt.
  var stallSeconds = 60.0
  /// Attempts of one request; those that got on do not count.
  var attempts = 6
  /// Waits between attempts.
  var pause: @Sendable (Double) -> Void = { Pause.seconds($0) }
  /// Asked while something is under way.
  var isStopped: @Sendable () -> Bool = {
    !SignalFlags.current.isDisjoint(with: [.stop, .stopNow])
  }

  /// Reads what both hubs' own clients read: `HF_ENDPOINT`, `MODELSCOPE_ENDPOINT`,
  /// `MODELSCOPE_DOMAIN`, `HF_HUB_OFFLINE`, the tokens `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN` and
  /// `MODELSCOPE_API_TOKEN`, and the folders of the caches.
  public init(environment: [String: String]) {
    func text(_ names: String...) -> String? {
      names.lazy.compactMap { environment[$0] }.first { !$0.isEmpty }
    }
    endpoints = [
      .huggingFace: Self.address(text("HF_ENDPOINT") ?? HubSettings.publicHuggingFace),
      .modelScope: Self.address(
        text("MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN") ?? "www.modelscope.cn"),
    ]
    caches = HubCaches(environment: environment)
    isOffline = ["1", "true", "yes", "on"].contains(
      text("HF_HUB_OFFLINE", "MODELSCOPE_OFFLINE")?.lowercased() ?? "")
    tokens[.huggingFace] = text("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN").flatMap { Secret($0) }
    tokens[.modelScope] = text("MODELSCOPE_API_TOKEN").flatMap { Secret($0) }
  }

  static let publicHuggingFace = "https://huggingface.co"

  private static func address(_ text: String) -> String {
    var text = text.contains("://") ? text : "https://" + text
    while text.hasSuffix("/") { text.removeLast() }
    return text
  }

  /// Uses a token for one hub in place of that of the environment.
  public mutating func use(_ token: Secret, for service: HubService) { tokens[service] = token }

  func endpoint(_ service: HubService) -> String { endpoints[service] ?? "" }
}
