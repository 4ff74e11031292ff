import Parallel
import Support
import Tensor

// p patches   hv hidden of the tower   n visual tokens = p / merge²   h hidden of the text model

/// The vision tower: patches to visual tokens, and features for the first decoder layers.
///
///     x = pixels · wᵀ + b + position;   x = block_i(x);   tokens = merger(x)
///     deepstack_j = merger_j(x after block deepstackBlocks[j])
///
/// Every rank holds the whole tower and runs its share of the slices (`TowerShare`). For the gradient of
/// a weight the rows of all ranks come together in the order of the row: every rank forms it, so that
/// it needs no sum and has the bits of one rank. What has trained adapters runs on all patches on every
/// rank.
/// - Source: model.md 8 (Qwen3-VL as published).
public struct QwenVision: Sendable {
  public let config: VisionConfig
  let patches: Adapter<WeightAndBias>  // [hv, channels, temporal, patch, patch]
  let positionTable: Parameter  // [side², hv]
  let blocks: [VisionBlock]
  let merger: PatchMerger
  let deepstackMergers: [PatchMerger]
  /// Every weight once, in the order of the forward pass, adapters after the weight they are for.
  public let parameters: [Parameter]

  private var trunkAdapts: Bool { patches.adapts || blocks.contains(where: \.adapts) }
}

/// What the tower makes of a row: `[n, h]` each, `same` over tp, in order of appearance.
public struct VisualTokens: Sendable {
  public let merged: Value
  /// Added to the stream after the first decoder layers, one each.
  public let deepstack: [Value]
}

extension QwenVision {
  static let epsilon: Float = 1e-6

  /// - Parameter probe: name under which inner values are kept (`vit`), with the setting's probe.
  /// - Throws: `SHAPE-101`, `COMM-001`, `MEM-001`.
  /// - Communication (tp): forward all-gather of `[n, h]` of each output; backward, for each trained
  ///   product and norm, all-gathers of its input and of the gradient of its output.
  public func callAsFunction(
    _ input: VisionInput, probing name: String = "vit", in context: Context
  ) throws(Fault) -> VisualTokens {
    let share = TowerShare(
      input.grids, config: config, rank: context.groups.tp.rank,
      of: trunkAdapts ? 1 : context.groups.tp.size)
    let rows = try TowerRows(
      input, share, config, group: context.groups.tp, on: context.setting.engine)
    let taps = try trunk(rows, name, in: context)
    var tokens: [Value] = []
    for (i, merger) in (deepstackMergers + [merger]).enumerated() {
      tokens.append(try merge(taps[i], merger, rows.shared, in: context))
    }
    let probe = context.setting.probe
    for (j, value) in tokens.dropLast().enumerated() {
      probe?.keep("\(name).deepstack.\(j)", value, on: context.tape)
    }
    probe?.keep("\(name).merger", tokens[tokens.count - 1], on: context.tape)
    return VisualTokens(merged: tokens[tokens.count - 1], deepstack: Array(tokens.dropLast()))
  }

  /// - Returns: the outputs of the deepstack blocks in their order in the list, then of the last
  ///   block.
  private func trunk(
    _ rows: TowerRows, _ name: String, in context: Context
  ) throws(Fault) -> [Value] {
    let probe = context.setting.probe
    let pixels = try rows.pixels.converted(to: patches.base.weight.dtype)
    var x = try patches(Value(pixels, rows.placement), rows.shared?.patches, in: context)
    probe?.keep("\(name).patch_embed", x, on: context.tape)
    x = try context.tape.addWeightedRows(
      x, positionTable, rows.positions,
      whole: positionTable.isTrainable ? rows.whole(config) : nil)
    var taps = [Value?](repeating: nil, count: deepstackMergers.count)
    for (i, block) in blocks.enumerated() {
      probe?.keep("\(name).block_in.\(i)", x, on: context.tape)
      if context.setting.recompute.contains(.vision) {
        let setting = context.setting
        x = try context.tape.recompute(x, trains: block.trains) { (x, tape) throws(Fault) in
          try block(x, rows, in: Context(tape: tape, setting: setting))
        }
      } else {
        x = try block(x, rows, in: context)
      }
      if let j = config.deepstackBlocks.firstIndex(of: i) {
        taps[j] = x
        x = context.tape.fork(x)
      }
    }
    probe?.keep("\(name).block_in.\(blocks.count)", x, on: context.tape)
    return taps.compactMap { $0 } + [x]
  }

  /// All tokens of a merger, in order.
  private func merge(
    _ x: Value, _ merger: PatchMerger, _ shared: TowerRows.Shared?, in context: Context
  ) throws(Fault) -> Value {
    guard let shared else { return try merger(x, nil, in: context) }
    if merger.adapts {
      return try merger(try context.collectRows(x, shared.patches), nil, in: context)
    }
    return try context.collectRows(try merger(x, shared, in: context), shared.tokens)
  }
}
