import Parallel
import Support
import Tensor

extension QwenText {
  /// A model with uninitialised weights.
  /// - Parameters:
  ///   - router: choices of the flags; experts and top-k come from `config`.
  ///   - adapters: adapters to build beside the weights; the weights are then frozen, but for those
  ///     that the plan trains whole.
  /// - Throws: `MEM-001`.
  public init(
    _ config: QwenConfig, layout: ModelLayout, dtype: DType, router: RouterOptions?,
    adapters: AdapterPlan? = nil, on engine: Engine
  ) throws(Fault) {
    var builder = QwenBuilder(
      config: config, layout: layout, dtype: dtype, engine: engine, adapters: adapters)
    let chunks = builder.chunks
    let vocabulary = config.vocabularySize / layout.tp.size
    let root = config.textPrefix
    let table = try builder.parameter(
      root + "embedding.word_embeddings.weight",
      .even(
        [config.vocabularySize, config.hiddenSize], dim: 0, rank: layout.tp.rank,
        of: layout.tp.size))
    embedding = Adapter(
      VocabParallelEmbedding(weight: table, firstID: layout.tp.rank * vocabulary),
      try builder.adapter(of: table))
    var layers: [DecoderLayer] = []
    for i in 0..<config.layerCount { layers.append(try builder.layer(i, router: router)) }
    self.layers = layers
    finalNorm = try builder.norm(root + "decoder.final_layernorm.weight", config.hiddenSize)
    let output =
      config.tiesEmbeddings
      ? table
      : try builder.parameter(
        root + "output_layer.weight",
        .even(
          [config.vocabularySize, config.hiddenSize], dim: 0, rank: layout.tp.rank,
          of: layout.tp.size))
    head = VocabParallelCrossEntropy(
      weight: output, firstID: layout.tp.rank * vocabulary, vocabularyChunks: chunks.vocabulary,
      adapter: config.tiesEmbeddings ? nil : try builder.adapter(of: output))
    parameters = builder.parameters
    self.adapters = adapters
    self.config = config
    self.layout = layout
    adapters?.freeze(parameters)
  }
}

/// Makes the parameters of the text model and remembers their order.
struct QwenBuilder {
  let config: QwenConfig
  let layout: ModelLayout
  let dtype: DType
  let engine: Engine
  let adapters: AdapterPlan?
  private(set) var parameters: [Parameter] = []

  init(
    config: QwenConfig, layout: ModelLayout, dtype: DType, engine: Engine,
    adapters: AdapterPlan? = nil
  ) {
    self.config = config
    self.layout = layout
    self.dtype = dtype
    self.engine = engine
    self.adapters = adapters
  }

  mutating func add(_ parameter: Parameter) { parameters.append(parameter) }

  var chunks: ModelChunks { ModelChunks(config: config, layout: layout) }

  mutating func parameter(
    _ name: String, _ slices: ParameterSlices, role: Parameter.Role = Parameter.Role(),
    dtype: DType? = nil
  ) throws(Fault) -> Parameter {
    let parameter = try Parameter(name, slices, dtype ?? self.dtype, role: role, on: engine)
    parameters.append(parameter)
    return parameter
  }

  mutating func column(_ weight: Parameter, chunks: Int) throws(Fault)
    -> Adapter<ColumnParallelLinear>
  {
    Adapter(
      ColumnParallelLinear(weight: weight, outputChunks: chunks), try adapter(of: weight))
  }

  mutating func row(_ weight: Parameter, chunks: Int) throws(Fault) -> Adapter<RowParallelLinear> {
    Adapter(RowParallelLinear(weight: weight, inputChunks: chunks), try adapter(of: weight))
  }

  /// A norm weight: whole on every rank.
  mutating func norm(_ name: String, _ size: Int) throws(Fault) -> Parameter {
    try parameter(name, .whole([size]), role: Parameter.Role(isReplicated: true))
  }

  mutating func layer(_ i: Int, router: RouterOptions?) throws(Fault) -> DecoderLayer {
    let prefix = config.textPrefix + "decoder.layers.\(i)."
    let attention = try attention(prefix + "self_attention.")
    let feedForward: DecoderLayer.FeedForward
    let postNorm: Parameter
    if config.isSparse(layer: i), let experts = config.experts {
      postNorm = try norm(prefix + "pre_mlp_layernorm.weight", config.hiddenSize)
      feedForward = .sparse(try self.experts(i, prefix + "mlp.", experts, router: router))
    } else {
      postNorm = try norm(prefix + "mlp.linear_fc1.layer_norm_weight", config.hiddenSize)
      feedForward = .dense(try dense(prefix + "mlp."))
    }
    return DecoderLayer(
      index: i, attention: attention, postNorm: postNorm, feedForward: feedForward,
      epsilon: config.normEpsilon, trains: true)
  }

  private mutating func attention(_ prefix: String) throws(Fault) -> SelfAttention {
    let h = config.hiddenSize
    let d = config.headSize
    let groups = config.groupCount / layout.tp.size
    let tp = layout.tp
    let inputNorm = try norm(prefix + "linear_qkv.layer_norm_weight", h)
    let qkv = try parameter(
      prefix + "linear_qkv.weight",
      .even(
        [config.groupCount * (config.headRatio + 2) * d, h], dim: 0, rank: tp.rank, of: tp.size))
    let queryNorm = try norm(prefix + "q_layernorm.weight", d)
    let keyNorm = try norm(prefix + "k_layernorm.weight", d)
    let projection = try parameter(
      prefix + "linear_proj.weight",
      .even([h, config.headCount * d], dim: 1, rank: tp.rank, of: tp.size))
    return SelfAttention(
      inputNorm: inputNorm,
      qkv: try column(qkv, chunks: chunks.groups),
      queryNorm: queryNorm, keyNorm: keyNorm,
      projection: try row(projection, chunks: chunks.groups),
      heads: FusedHeads(groups: groups, ratio: config.headRatio, d: d),
      epsilon: config.normEpsilon, groupsPerPart: chunks.groupsPerPart)
  }

  private mutating func dense(_ prefix: String) throws(Fault) -> DenseMLP {
    let f = config.intermediateSize
    let tp = layout.tp
    let parts = chunks.feedForward
    let input = try parameter(
      prefix + "linear_fc1.weight",
      .gated(
        width: f, columns: config.hiddenSize, chunks: parts * tp.size, rank: tp.rank, of: tp.size))
    let output = try parameter(
      prefix + "linear_fc2.weight",
      .even([config.hiddenSize, f], dim: 1, rank: tp.rank, of: tp.size))
    return DenseMLP(
      input: try column(input, chunks: parts), output: try row(output, chunks: parts), parts: parts)
  }

  private mutating func experts(
    _ layer: Int, _ prefix: String, _ experts: QwenConfig.Experts, router options: RouterOptions?
  ) throws(Fault) -> ExpertLayer {
    var options = options ?? RouterOptions(experts: experts.count, topK: experts.topK)
    options.experts = experts.count
    let h = config.hiddenSize
    let etp = layout.etp
    let parts = chunks.expert(experts)
    let weight = try parameter(
      prefix + "router.weight", .whole([experts.count, h]),
      role: Parameter.Role(isReplicated: true))
    let own = experts.count / layout.ep.size
    var inputs: [Parameter] = []
    var outputs: [Parameter] = []
    let role = Parameter.Role(isExpert: true)
    for e in layout.ep.rank * own..<(layout.ep.rank + 1) * own {
      inputs.append(
        try parameter(
          prefix + "experts.\(e).linear_fc1.weight",
          .gated(
            width: experts.intermediateSize, columns: h, chunks: parts * etp.size, rank: etp.rank,
            of: etp.size), role: role))
      outputs.append(
        try parameter(
          prefix + "experts.\(e).linear_fc2.weight",
          .even([h, experts.intermediateSize], dim: 1, rank: etp.rank, of: etp.size), role: role))
    }
    var grouped = GroupedExperts(input: inputs, output: outputs, parts: parts)
    for input in inputs {
      if let pair = try adapter(of: input) { grouped.inputAdapters.append(pair) }
    }
    for output in outputs {
      if let pair = try adapter(of: output) { grouped.outputAdapters.append(pair) }
    }
    return ExpertLayer(
      router: Router(
        weight: weight, options: options, label: "router.\(layer)",
        adapter: try adapter(of: weight)),
      experts: grouped)
  }
}
