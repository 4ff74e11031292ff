import Foundation
import Support
import Tensor

/// Which linear maps get adapters, as flags say it, and what kind.
public struct AdapterChoice: Sendable, Equatable {
  /// What an adapter sits on.
  public enum Form: Sendable, Equatable {
    /// Our fused matrices: one A for query, key and value, one for gate and up (`megatron sft`).
    case fused
    /// Each projection of the published layout by itself (`swift sft`).
    case published
  }

  public var form = Form.fused
  public var rank = 8
  public var alpha = 32.0
  /// Scale by the root of the rank.
  public var stabilized = false
  public var dropout = 0.0
  public var dtype = DType.float32
  /// Ends of module names, or `all-linear`, `all-router`.
  public var targets = ["all-linear"]
  /// Matches whole module names; `targets` has no say then.
  public var pattern: String?
  /// Modules trained whole, by the end of their name in either spelling.
  public var modulesToSave: [String] = []
  /// The biases of the base are trained too.
  public var trainsBiases = false

  public init() {}

  /// - Parameter isFrozen: weights whose part of the model `all-linear` leaves out.
  /// - Throws: `OPT-140` for a target that matches nothing or cannot have an adapter.
  public func plan(
    for map: NameMap, isFrozen: (String) -> Bool = { _ in false }
  ) throws(Fault) -> AdapterPlan {
    var plan = AdapterPlan()
    plan.dropout = dropout
    plan.dtype = dtype
    plan.stabilized = stabilized
    let matcher = try TargetMatcher(targets: targets, pattern: pattern)
    var unused = Set(pattern == nil ? targets : [])
    for row in map.all {
      let linear = AdaptableLinear(row)
      guard let linear else {
        try refuseOther(row, matcher)
        continue
      }
      let modules = linear.modules(form)
      let chosen = modules.filter { module in
        matcher.matches(
          module.name, linear.kind, isFrozen: isFrozen(row.name), &unused)
      }
      guard !chosen.isEmpty else { continue }
      let scale = AdapterPlan.scale(alpha: alpha, rank: rank, stabilized: stabilized)
      plan.sites[row.name] = .init(
        blocks: chosen.map {
          .init(published: $0.published, rows: $0.rows, rank: rank, scale: scale)
        }, isTable: linear.kind == .embedding)
    }
    if let pattern, plan.sites.isEmpty {
      throw noMatch("target_regex", pattern, map)
    }
    if let name = unused.sorted().first(where: { !TargetMatcher.groups.contains($0) }) {
      throw noMatch("target_modules", name, map)
    }
    plan.savedWeights = try savedWeights(map)
    // What is trained whole needs no adapter.
    for name in plan.savedWeights { plan.sites[name] = nil }
    plan.trainsBiases = trainsBiases
    if trainsBiases { plan.savedWeights.formUnion(map.biases) }
    return plan
  }

  /// What is no linear map and still looks like one by its name.
  private func refuseOther(_ row: NameMapRow, _ matcher: TargetMatcher) throws(Fault) {
    guard row.shape.count == 2 else { return }
    let names = [row.name] + row.pieces.map(\.published)
    for module in names.map(AdaptableLinear.module(of:)) where matcher.names(module) {
      throw Fault(
        .badAdapterTarget, "\(module) cannot have an adapter", at: .flag("target_modules"),
        expected: "linear maps, all-router or all-embedding",
        fix: "train it whole with --modules_to_save \(module.split(separator: ".").last ?? "")")
    }
  }

  private func noMatch(_ flag: String, _ word: String, _ map: NameMap) -> Fault {
    var known: [String] = []
    for row in map.all {
      for module in AdaptableLinear(row)?.modules(form) ?? [] {
        let leaf = String(module.name.split(separator: ".").last ?? "")
        if !known.contains(leaf) { known.append(leaf) }
      }
    }
    return Fault(
      .badAdapterTarget, "\"\(word)\" is the name of no linear map of this model", at: .flag(flag),
      expected: (TargetMatcher.groups + known).joined(separator: ", "))
  }

  /// The name of the output layer in either spelling: in a tied model that of the embedding.
  private static func isOutputLayer(_ name: String) -> Bool {
    ["lm_head", "output_layer"].contains(String(name.split(separator: ".").last ?? ""))
  }

  /// - Throws: `OPT-140` for a name that no module ends with.
  private func savedWeights(_ map: NameMap) throws(Fault) -> Set<String> {
    var result: Set<String> = []
    for name in modulesToSave {
      if map.config.tiesEmbeddings, Self.isOutputLayer(name) {
        result.insert(map.config.textPrefix + "embedding.word_embeddings.weight")
        continue
      }
      let found = map.all.filter { row in
        ([row.name] + row.pieces.map(\.published)).contains {
          AdaptableLinear.isInside($0, module: name)
        }
      }
      guard !found.isEmpty else {
        throw Fault(
          .badAdapterTarget, "\"\(name)\" is no module of this model",
          at: .flag("modules_to_save"), expected: "word_embeddings, output_layer, …")
      }
      result.formUnion(found.map(\.name))
    }
    return result
  }
}

/// Whether a module is a target.
struct TargetMatcher {
  static let groups = ["all-linear", "all-router", "all-embedding"]
  let targets: [String]
  let regex: NSRegularExpression?

  /// - Throws: `OPT-140` for a bad pattern.
  init(targets: [String], pattern: String?) throws(Fault) {
    self.targets = pattern == nil ? targets : []
    guard let pattern else {
      regex = nil
      return
    }
    do {
      regex = try NSRegularExpression(pattern: "^(?:\(pattern))$")
    } catch {
      throw Fault(
        .badAdapterTarget, "\"\(pattern)\" is no regular expression", at: .flag("target_regex"))
    }
  }

  /// Whether the pattern or one of the names, not a group, is this module.
  func names(_ module: String) -> Bool {
    if let regex {
      return regex.firstMatch(in: module, range: NSRange(module.startIndex..., in: module)) != nil
    }
    return targets.contains { module == $0 || module.hasSuffix("." + $0) }
  }

  func matches(
    _ module: String, _ kind: AdaptableLinear.Kind, isFrozen: Bool, _ unused: inout Set<String>
  ) -> Bool {
    if regex != nil { return names(module) }
    var found = false
    for target in targets {
      let isTarget =
        switch target {
        case "all-linear": kind == .linear && !isFrozen
        case "all-router": kind == .router && !isFrozen
        case "all-embedding": kind == .embedding && !isFrozen
        default: module == target || module.hasSuffix("." + target)
        }
      if isTarget { unused.remove(target) }
      found = found || isTarget
    }
    return found
  }
}

/// A weight that can have an adapter, seen as the modules it is made of.
package struct AdaptableLinear {
  /// What groups of targets (`all-linear`, `all-router`) tell apart.
  package enum Kind: Sendable {
    case linear
    case router
    /// Of patches; adapted when named only.
    case convolution
    /// A table of rows; its adapter's A has a column for each row.
    case embedding
    case output
  }

  let row: NameMapRow
  package let kind: Kind

  /// nil for norms and the table of positions.
  package init?(_ row: NameMapRow) {
    guard row.shape.count >= 2, row.name.hasSuffix(".weight"),
      !row.name.hasSuffix("pos_embed.weight")
    else { return nil }
    self.row = row
    switch row.name.split(separator: ".").dropLast().last {
    case "router": kind = .router
    case "word_embeddings": kind = .embedding
    case "output_layer": kind = .output
    default: kind = row.shape.count > 2 ? .convolution : .linear
    }
  }

  /// Rows of B: our rows, of a table the elements of a row.
  private var outputs: Int { kind == .embedding ? row.shape[1] : row.shape[0] }

  /// The published modules, each with its rows of B.
  package var published: [Module] {
    row.modules.map {
      Module(
        name: $0.name, published: $0.published,
        rows: kind == .embedding ? [0..<outputs] : $0.rows)
    }
  }

  package struct Module {
    package let name: String
    package let published: String?
    package let rows: [Range<Int>]
  }

  package func modules(_ form: AdapterChoice.Form) -> [Module] {
    switch form {
    case .fused:
      var name = AdaptableLinear.module(of: row.name)
      // The experts of a layer are one module.
      if let layer = LayerName(row.name), let expert = layer.expert {
        name =
          "decoder.layers.\(layer.index).mlp.experts." + AdaptableLinear.module(of: expert.rest)
      }
      return [Module(name: name, published: nil, rows: [0..<outputs])]
    case .published:
      return published
    }
  }

  static func module(of weight: String) -> String {
    weight.hasSuffix(".weight") ? String(weight.dropLast(7)) : weight
  }

  /// Whether a tensor belongs to the module that is named by the end of its path.
  static func isInside(_ tensor: String, module: String) -> Bool {
    let parts = tensor.split(separator: ".")
    let wanted = module.split(separator: ".")
    guard parts.count > wanted.count else { return false }
    return (0...(parts.count - 1 - wanted.count)).contains {
      Array(parts[$0..<$0 + wanted.count]) == wanted
    }
  }
}

extension NameMap {
  /// Names of all biases.
  public var biases: Set<String> { Set(all.map(\.name).filter { $0.hasSuffix(".bias") }) }
}

extension NameMapRow {
  /// The published weights that this one is made of, each with its rows here in its own order.
  public var modules: [(name: String, published: String, rows: [Range<Int>])] {
    var order: [String] = []
    var rows: [String: [(Int, Range<Int>)]] = [:]
    for piece in pieces {
      if rows[piece.published] == nil { order.append(piece.published) }
      rows[piece.published, default: []].append(
        (piece.publishedRow, piece.row..<piece.row + piece.count))
    }
    return order.map { name in
      (
        AdaptableLinear.module(of: name), name,
        (rows[name] ?? []).sorted { $0.0 < $1.0 }.map(\.1)
      )
    }
  }
}

extension FaultCode {
  public static let badAdapterTarget = FaultCode(
    "OPT-140", .usage, "a name of modules for adapters that the model does not have")
}
