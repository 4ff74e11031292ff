/// torch's CPU `randperm(count)` after `manual_seed(seed)`: swap `i` with `i + next mod (n − i)`.
func torchPermutation(_ count: Int, seed: Int) -> [Int] {
  var order = Array(0..<max(count, 0))
  var twister = MersenneTwister(seed: UInt32(truncatingIfNeeded: seed))
  for i in 0..<max(order.count - 1, 0) {
    let step = Int(twister.nextWord()) % (order.count - i)
    order.swapAt(i, i + step)
  }
  return order
}
