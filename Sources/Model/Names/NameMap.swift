import Support

/// Which rows of which published tensors make up one of our whole tensors.
///
/// Read both ways: import copies published rows into ours, export copies ours into published ones.
/// `NameMap.all` lists every tensor of a model once, so both directions can be checked for
/// completeness.
public struct NameMapRow: Sendable, Equatable {
  /// Our name: Megatron's, one per layer and expert.
  public let name: String
  /// Shape of the whole tensor.
  public let shape: [Int]
  public let pieces: [Piece]

  /// `count` rows of our tensor at `row` are those of the published tensor at `publishedRow`.
  public struct Piece: Sendable, Equatable {
    public let published: String
    public let row: Int
    public let publishedRow: Int
    public let count: Int
  }
}

/// The table of names between HuggingFace folders and this program, for Qwen3 and Qwen3-MoE.
public struct NameMap: Sendable {
  public let config: QwenConfig
  public let all: [NameMapRow]
  private let index: [String: Int]

  public init(_ config: QwenConfig) {
    self.config = config
    var rows = [
      NameMap.same(
        "embedding.word_embeddings.weight", "model.embed_tokens.weight",
        [config.vocabularySize, config.hiddenSize])
    ]
    for i in 0..<config.layerCount { rows += NameMap.layer(i, config) }
    rows.append(
      NameMap.same("decoder.final_layernorm.weight", "model.norm.weight", [config.hiddenSize]))
    if !config.tiesEmbeddings {
      rows.append(
        NameMap.same(
          "output_layer.weight", "lm_head.weight", [config.vocabularySize, config.hiddenSize]))
    }
    all = rows
    index = Dictionary(uniqueKeysWithValues: rows.enumerated().map { ($1.name, $0) })
  }

  public subscript(name: String) -> NameMapRow? { index[name].map { all[$0] } }

  /// Every published tensor with its shape, in the order of the model.
  public var published: [(name: String, shape: [Int])] {
    var rows: [String: Int] = [:]
    var order: [String] = []
    var tail: [String: [Int]] = [:]
    for row in all {
      for piece in row.pieces {
        if rows[piece.published] == nil { order.append(piece.published) }
        rows[piece.published] = max(
          rows[piece.published] ?? 0, piece.publishedRow + piece.count)
        tail[piece.published] = Array(row.shape.dropFirst())
      }
    }
    return order.map { ($0, [rows[$0] ?? 0] + (tail[$0] ?? [])) }
  }

  private static func same(_ name: String, _ published: String, _ shape: [Int]) -> NameMapRow {
    NameMapRow(
      name: name, shape: shape,
      pieces: [.init(published: published, row: 0, publishedRow: 0, count: shape[0])])
  }

  private static func layer(_ i: Int, _ config: QwenConfig) -> [NameMapRow] {
    let ours = "decoder.layers.\(i)."
    let theirs = "model.layers.\(i)."
    let h = config.hiddenSize
    let d = config.headSize
    let sparse = config.isSparse(layer: i)
    var rows = [
      same(
        ours + "self_attention.linear_qkv.layer_norm_weight", theirs + "input_layernorm.weight",
        [h]),
      fused(ours + "self_attention.linear_qkv.weight", theirs + "self_attn.", config),
      same(ours + "self_attention.q_layernorm.weight", theirs + "self_attn.q_norm.weight", [d]),
      same(ours + "self_attention.k_layernorm.weight", theirs + "self_attn.k_norm.weight", [d]),
      same(
        ours + "self_attention.linear_proj.weight", theirs + "self_attn.o_proj.weight",
        [h, config.headCount * d]),
      same(
        ours + (sparse ? "pre_mlp_layernorm.weight" : "mlp.linear_fc1.layer_norm_weight"),
        theirs + "post_attention_layernorm.weight", [h]),
    ]
    if sparse, let experts = config.experts {
      rows.append(
        same(ours + "mlp.router.weight", theirs + "mlp.gate.weight", [experts.count, h]))
      for e in 0..<experts.count {
        rows += gatedPair(
          ours + "mlp.experts.\(e).", theirs + "mlp.experts.\(e).", experts.intermediateSize, h)
      }
    } else {
      rows += gatedPair(ours + "mlp.", theirs + "mlp.", config.intermediateSize, h)
    }
    return rows
  }

  /// For each key/value group its query heads, then its key, then its value.
  private static func fused(_ name: String, _ prefix: String, _ config: QwenConfig) -> NameMapRow {
    let d = config.headSize
    let ratio = config.headRatio
    var pieces: [NameMapRow.Piece] = []
    for g in 0..<config.groupCount {
      let start = g * (ratio + 2) * d
      pieces.append(
        .init(
          published: prefix + "q_proj.weight", row: start, publishedRow: g * ratio * d,
          count: ratio * d))
      pieces.append(
        .init(
          published: prefix + "k_proj.weight", row: start + ratio * d, publishedRow: g * d,
          count: d))
      pieces.append(
        .init(
          published: prefix + "v_proj.weight", row: start + (ratio + 1) * d, publishedRow: g * d,
          count: d))
    }
    return NameMapRow(
      name: name, shape: [config.groupCount * (ratio + 2) * d, config.hiddenSize], pieces: pieces)
  }

  /// `[gate; up]` and `down`.
  private static func gatedPair(_ ours: String, _ theirs: String, _ f: Int, _ h: Int)
    -> [NameMapRow]
  {
    [
      NameMapRow(
        name: ours + "linear_fc1.weight", shape: [2 * f, h],
        pieces: [
          .init(published: theirs + "gate_proj.weight", row: 0, publishedRow: 0, count: f),
          .init(published: theirs + "up_proj.weight", row: f, publishedRow: 0, count: f),
        ]),
      same(ours + "linear_fc2.weight", theirs + "down_proj.weight", [h, f]),
    ]
  }
}
