import Support
import Tensor

/// Name, element type and shape of one stored tensor.
public struct TensorSpec: Sendable, Equatable {
  public let name: String
  public let dtype: DType
  public let shape: [Int]

  public init(_ name: String, _ dtype: DType, _ shape: [Int]) {
    self.name = name
    self.dtype = dtype
    self.shape = shape
  }

  /// Elements; the caller guarantees that the product does not overflow (see `checkedProduct`).
  public var count: Int { shape.reduce(1, *) }
  public var byteCount: Int { count * dtype.size }
}

/// The product of `sizes`, or nil when one is negative or a step overflows.
///
/// Steps are taken in order, so `[0, huge, huge]` is fine and `[huge, huge, 0]` is not, as the
/// safetensors library has it.
func checkedProduct(_ sizes: some Sequence<Int>, times factor: Int = 1) -> Int? {
  var product = 1
  for size in sizes {
    guard size >= 0 else { return nil }
    let (next, overflow) = product.multipliedReportingOverflow(by: size)
    if overflow { return nil }
    product = next
  }
  let (bytes, overflow) = product.multipliedReportingOverflow(by: factor)
  return overflow ? nil : bytes
}
