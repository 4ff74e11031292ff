import Support

/// Collects the rows of a `NameMap` in the order of the model.
struct NameMapBuilder {
  let config: QwenConfig
  let experts: ExpertLayout
  private(set) var rows: [NameMapRow] = []
  private(set) var published: [(name: String, shape: [Int])] = []

  init(config: QwenConfig, experts: ExpertLayout) {
    self.config = config
    self.experts = experts
  }

  /// Before the published names of the text model.
  private var root: String { config.vision == nil ? "model." : "model.language_model." }
  /// Before ours.
  private var prefix: String { config.textPrefix }

  mutating func build() {
    same(
      prefix + "embedding.word_embeddings.weight", root + "embed_tokens.weight",
      [config.vocabularySize, config.hiddenSize])
    for i in 0..<config.layerCount { layer(i) }
    same(prefix + "decoder.final_layernorm.weight", root + "norm.weight", [config.hiddenSize])
    if !config.tiesEmbeddings {
      same(
        prefix + "output_layer.weight", "lm_head.weight",
        [config.vocabularySize, config.hiddenSize])
    }
    if let vision = config.vision { tower(vision) }
  }

  /// One published tensor that is one of ours.
  private mutating func same(_ name: String, _ theirs: String, _ shape: [Int]) {
    published.append((theirs, shape))
    rows.append(
      NameMapRow(
        name: name, shape: shape,
        pieces: [.init(published: theirs, row: 0, publishedRow: 0, count: shape[0])]))
  }

  private mutating func layer(_ i: Int) {
    let ours = prefix + "decoder.layers.\(i)."
    let theirs = root + "layers.\(i)."
    let h = config.hiddenSize
    let d = config.headSize
    let sparse = config.isSparse(layer: i)
    let attention = ours + "self_attention."
    same(attention + "linear_qkv.layer_norm_weight", theirs + "input_layernorm.weight", [h])
    fused(attention + "linear_qkv.weight", theirs + "self_attn.")
    same(attention + "q_layernorm.weight", theirs + "self_attn.q_norm.weight", [d])
    same(attention + "k_layernorm.weight", theirs + "self_attn.k_norm.weight", [d])
    same(
      attention + "linear_proj.weight", theirs + "self_attn.o_proj.weight",
      [h, config.headCount * d])
    same(
      ours + (sparse ? "pre_mlp_layernorm.weight" : "mlp.linear_fc1.layer_norm_weight"),
      theirs + "post_attention_layernorm.weight", [h])
    if sparse, let experts = config.experts {
      same(ours + "mlp.router.weight", theirs + "mlp.gate.weight", [experts.count, h])
      self.experts(ours + "mlp.experts.", theirs + "mlp.experts.", experts)
    } else {
      gatedPair(ours + "mlp.", theirs + "mlp.", config.intermediateSize)
    }
  }

  /// For each key/value group its query heads, then its key, then its value.
  private mutating func fused(_ name: String, _ theirs: String) {
    let d = config.headSize
    let ratio = config.headRatio
    let (n, g, h) = (config.headCount, config.groupCount, config.hiddenSize)
    let (q, k, v) = (theirs + "q_proj.weight", theirs + "k_proj.weight", theirs + "v_proj.weight")
    published += [(q, [n * d, h]), (k, [g * d, h]), (v, [g * d, h])]
    var pieces: [NameMapRow.Piece] = []
    for group in 0..<g {
      let start = group * (ratio + 2) * d
      pieces += [
        .init(published: q, row: start, publishedRow: group * ratio * d, count: ratio * d),
        .init(published: k, row: start + ratio * d, publishedRow: group * d, count: d),
        .init(published: v, row: start + (ratio + 1) * d, publishedRow: group * d, count: d),
      ]
    }
    rows.append(NameMapRow(name: name, shape: [g * (ratio + 2) * d, h], pieces: pieces))
  }

  /// `[gate; up]` and `down` as three matrices.
  private mutating func gatedPair(_ ours: String, _ theirs: String, _ f: Int) {
    let h = config.hiddenSize
    let (gate, up) = (theirs + "gate_proj.weight", theirs + "up_proj.weight")
    published += [(gate, [f, h]), (up, [f, h])]
    rows.append(
      NameMapRow(
        name: ours + "linear_fc1.weight", shape: [2 * f, h],
        pieces: [
          .init(published: gate, row: 0, publishedRow: 0, count: f),
          .init(published: up, row: f, publishedRow: 0, count: f),
        ]))
    same(ours + "linear_fc2.weight", theirs + "down_proj.weight", [h, f])
  }

  private mutating func experts(_ ours: String, _ theirs: String, _ sizes: QwenConfig.Experts) {
    guard experts != .separate else {
      for e in 0..<sizes.count {
        gatedPair(ours + "\(e).", theirs + "\(e).", sizes.intermediateSize)
      }
      return
    }
    let (h, f, n) = (config.hiddenSize, sizes.intermediateSize, sizes.count)
    let (input, output) = (theirs + "gate_up_proj", theirs + "down_proj")
    let transposed = experts == .transposed
    published += [
      (input, transposed ? [n, h, 2 * f] : [n, 2 * f, h]),
      (output, transposed ? [n, f, h] : [n, h, f]),
    ]
    for e in 0..<n {
      stacked(ours + "\(e).linear_fc1.weight", input, expert: e, [2 * f, h])
      stacked(ours + "\(e).linear_fc2.weight", output, expert: e, [h, f])
    }
  }

  /// One matrix of a tensor that stacks those of all experts.
  private mutating func stacked(
    _ name: String, _ theirs: String, expert: Int, _ shape: [Int]
  ) {
    let transposed = experts == .transposed
    var piece = NameMapRow.Piece(
      published: theirs, row: 0, publishedRow: expert * (transposed ? shape[1] : shape[0]),
      count: shape[0])
    if transposed { piece.transposedWidth = shape[0] }
    rows.append(NameMapRow(name: name, shape: shape, pieces: [piece]))
  }

  private mutating func tower(_ vision: VisionConfig) {
    for weight in vision.weights {
      same(QwenVision.prefix + weight.name, "model.visual." + weight.name, weight.shape)
    }
  }
}
