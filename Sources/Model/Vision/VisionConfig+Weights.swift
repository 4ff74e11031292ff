extension VisionConfig {
  /// Every weight of a tower by its published name after the prefix, with its whole shape, in the
  /// order of the forward pass.
  var weights: [(name: String, shape: [Int])] {
    let h = hiddenSize
    let joined = mergedPatches * h
    func pair(_ name: String, _ shape: [Int]) -> [(name: String, shape: [Int])] {
      [(name + ".weight", shape), (name + ".bias", [shape[0]])]
    }
    func merger(_ prefix: String, norm: Int) -> [(name: String, shape: [Int])] {
      pair(prefix + "norm", [norm]) + pair(prefix + "linear_fc1", [joined, joined])
        + pair(prefix + "linear_fc2", [outputSize, joined])
    }
    var all = pair(
      "patch_embed.proj", [h, channels, temporalPatchSize, patchSize, patchSize])
    all.append(("pos_embed.weight", [positionCount, h]))
    for i in 0..<depth {
      let block = "blocks.\(i)."
      all += pair(block + "norm1", [h]) + pair(block + "attn.qkv", [3 * h, h])
      all += pair(block + "attn.proj", [h, h]) + pair(block + "norm2", [h])
      all += pair(block + "mlp.linear_fc1", [intermediateSize, h])
      all += pair(block + "mlp.linear_fc2", [h, intermediateSize])
    }
    all += merger("merger.", norm: h)
    for j in deepstackBlocks.indices {
      all += merger("deepstack_merger_list.\(j).", norm: joined)
    }
    return all
  }
}
