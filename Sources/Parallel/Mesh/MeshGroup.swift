/// The axes of the two factorisations of the ranks, fastest first.
public enum MeshAxis: String, Sendable, CaseIterable {
  case tp, cp, dp, pp
  case etp, ep, edp

  /// Axes of attention, norms, embedding, dense feed-forward and router.
  static let dense: [MeshAxis] = [.tp, .cp, .dp, .pp]
  /// Axes of the experts' weights.
  static let expert: [MeshAxis] = [.etp, .ep, .edp, .pp]
}

/// The groups of ranks that training uses.
public enum MeshGroup: Int, Sendable, CaseIterable {
  /// Tensor and sequence parallel.
  case tp
  case cp
  /// Which rows of a batch a rank reads.
  case dp
  /// Dense gradients, ZeRO-1 shards, token counts, loss.
  case dpCP
  /// Statistics of the router's load-balancing loss.
  case tpCP
  case tpDP
  /// Token counts for the router's bias.
  case tpCPDP
  case pp
  /// All ranks that hold one copy of the dense model.
  case modelParallel
  /// First and last stage: gradient of tied embeddings. A rank of another stage is alone.
  case embedding
  /// Token exchange of the experts.
  case ep
  case etp
  case etpEP
  case etpEPPP
  /// Expert gradients and their ZeRO-1 shards.
  case edp

  /// Name in logs, counters and messages, as the field writes it.
  public var name: String {
    switch self {
    case .tp: "tp"
    case .cp: "cp"
    case .dp: "dp"
    case .dpCP: "dp-cp"
    case .tpCP: "tp-cp"
    case .tpDP: "tp-dp"
    case .tpCPDP: "tp-cp-dp"
    case .pp: "pp"
    case .modelParallel: "mp"
    case .embedding: "embedding"
    case .ep: "ep"
    case .etp: "etp"
    case .etpEP: "etp-ep"
    case .etpEPPP: "etp-ep-pp"
    case .edp: "edp"
    }
  }

  /// Axes along which the members differ; all others they have in common.
  var axes: Set<MeshAxis> {
    switch self {
    case .tp: [.tp]
    case .cp: [.cp]
    case .dp: [.dp]
    case .dpCP: [.dp, .cp]
    case .tpCP: [.tp, .cp]
    case .tpDP: [.tp, .dp]
    case .tpCPDP: [.tp, .cp, .dp]
    case .pp, .embedding: [.pp]
    case .modelParallel: [.tp, .pp]
    case .ep: [.ep]
    case .etp: [.etp]
    case .etpEP: [.etp, .ep]
    case .etpEPPP: [.etp, .ep, .pp]
    case .edp: [.edp]
    }
  }

  /// Which factorisation the group belongs to.
  var factorisation: [MeshAxis] {
    axes.isSubset(of: MeshAxis.dense) ? MeshAxis.dense : MeshAxis.expert
  }
}
