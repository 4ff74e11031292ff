import Foundation
import Support

/// `adapter_config.json` of a PEFT folder: what this program computes with, and the rest as read.
///
/// Fields that are not known are kept and have no meaning; known ones that would change the
/// mathematics (DoRA, trained biases, …) are refused.
/// - Source: the files that peft 0.21 writes (docs/adapters.md).
public struct AdapterConfig: Sendable {
  public static let fileName = "adapter_config.json"

  public var rank: Int
  public var alpha: Double
  public var dropout: Double
  /// Scale by the root of the rank.
  public var stabilized: Bool
  /// Named rank or alpha of single modules: a pattern on the end of a module's name.
  public var ranks: [(pattern: String, value: Int)]
  public var alphas: [(pattern: String, value: Double)]
  public var baseModel: String?
  public var modulesToSave: [String]
  /// The folder holds biases of the base, trained.
  public var trainsBiases: Bool
  /// The file as read.
  public let json: JSONObject

  /// - Throws: `FILE-001`, `FILE-004`, `CKPT-161`.
  public init(folder: String) throws(Fault) {
    let path = folder + "/" + Self.fileName
    guard Folder.kind(path) == .file else {
      throw Fault(
        .missingFile, "\(folder) is not an adapter", at: .file(path),
        expected: "a folder with \(Self.fileName)")
    }
    let text = String(decoding: try AtomicFile.read(path), as: UTF8.self)
    let value: JSONValue
    do throws(JSONSyntaxError) {
      value = try JSONValue.parse(text)
    } catch {
      throw Fault(.badJSON, error.reason, at: .file(path, line: error.line, column: error.column))
    }
    guard let root = value.object else {
      throw Fault(.badJSON, "the file must hold an object, not \(value.kind)", at: .file(path))
    }
    try self.init(root, path: path)
  }

  init(_ root: JSONObject, path: String) throws(Fault) {
    func wrong(_ text: String) -> Fault { Fault(.badAdapter, text, at: .file(path)) }
    func number(_ key: String, _ fallback: Double?) throws(Fault) -> Double {
      if let value = root[key]?.double, value.isFinite { return value }
      guard let fallback, root[key].map(\.isNull) ?? true else {
        throw wrong("\(key) must be a number")
      }
      return fallback
    }
    let kind = root["peft_type"]?.string ?? "LORA"
    guard kind == "LORA" else { throw wrong("peft_type \"\(kind)\" is not LORA") }
    json = root
    guard let r = Int(exactly: try number("r", 8)), r > 0 else {
      throw wrong("r must be a whole number above 0")
    }
    rank = r
    alpha = try number("lora_alpha", 8)
    dropout = try number("lora_dropout", 0)
    guard (0...1).contains(dropout) else { throw wrong("lora_dropout must be between 0 and 1") }
    stabilized = root["use_rslora"]?.bool ?? false
    ranks = try Self.patterns(root["rank_pattern"], wrong("rank_pattern must map names to ranks"))
      .map { ($0.0, Int($0.1)) }
    alphas = try Self.patterns(
      root["alpha_pattern"], wrong("alpha_pattern must map names to numbers"))
    baseModel = root["base_model_name_or_path"]?.string
    modulesToSave = root["modules_to_save"]?.array?.compactMap(\.string) ?? []
    trainsBiases = ["all", "lora_only"].contains(root["bias"]?.string)
    try Self.refuse(root, wrong)
  }

  private static func patterns(
    _ value: JSONValue?, _ fault: Fault
  ) throws(Fault) -> [(String, Double)] {
    guard let value, !value.isNull else { return [] }
    guard let members = value.object?.members else { throw fault }
    var result: [(String, Double)] = []
    for (key, value) in members {
      guard let number = value.double, number.isFinite, abs(number) < 1e9 else { throw fault }
      result.append((key, number))
    }
    return result
  }

  /// Kinds of adapters that compute something else.
  private static func refuse(_ root: JSONObject, _ fault: (String) -> Fault) throws(Fault) {
    for key in ["use_dora", "use_qalora", "fan_in_fan_out", "lora_bias", "use_bdlora"]
    where root[key]?.bool == true {
      throw fault("\(key) true is not implemented")
    }
    for key in ["layer_replication", "trainable_token_indices"]
    where root[key].map({ !$0.isNull && $0.array?.isEmpty != true }) ?? false {
      throw fault("\(key) is not implemented")
    }
  }

  /// Alpha over rank (or its root) of a module, by its patterns.
  public func scale(module: String, rank: Int) -> Double {
    let alpha = alphas.first { Self.matches($0.pattern, module) }?.value ?? self.alpha
    return alpha / (stabilized ? Double(rank).squareRoot() : Double(rank))
  }

  /// The rank the file says a module has.
  public func rank(module: String) -> Int {
    ranks.first { Self.matches($0.pattern, module) }?.value ?? rank
  }

  /// A pattern is a regular expression for the end of a name that begins after a dot.
  private static func matches(_ pattern: String, _ module: String) -> Bool {
    guard let regex = try? NSRegularExpression(pattern: "^(?:.*\\.)?(?:\(pattern))$") else {
      return module == pattern || module.hasSuffix("." + pattern)
    }
    return regex.firstMatch(in: module, range: NSRange(module.startIndex..., in: module)) != nil
  }
}
