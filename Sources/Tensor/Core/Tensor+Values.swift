import Support

extension Tensor {
  /// A tensor with these values, rounded to `dtype`.
  public init(_ values: [Float], _ shape: [Int], _ dtype: DType = .float32, on engine: Engine)
    throws(Fault)
  {
    precondition(values.count == shape.reduce(1, *))
    try self.init(shape, dtype, on: engine)
    guard !engine.isPlanning else { return }
    switch dtype {
    case .float32: values.withUnsafeBytes { bytes.copyMemory(from: $0) }
    case .bfloat16:
      let target = pointer(as: BF16.self)
      for (i, value) in values.enumerated() { target[i] = BF16(value) }
    default: preconditionFailure("no values of \(dtype)")
    }
  }

  public init(_ values: [Int32], on engine: Engine) throws(Fault) {
    try self.init([values.count], .int32, on: engine)
    guard !engine.isPlanning else { return }
    values.withUnsafeBytes { bytes.copyMemory(from: $0) }
  }

  public static func zeros(_ shape: [Int], _ dtype: DType, on engine: Engine) throws(Fault)
    -> Tensor
  {
    let tensor = try Tensor(shape, dtype, on: engine)
    tensor.clear()
    return tensor
  }

  /// Sets every byte to zero.
  public func clear() {
    guard !engine.isPlanning, byteCount > 0 else { return }
    address.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }

  /// The elements widened to fp32; for tests, probes and small vectors.
  public var values: [Float] {
    precondition(!isPanels)
    switch dtype {
    case .float32: return Array(floats)
    case .bfloat16:
      let source = pointer(as: BF16.self)
      return (0..<count).map { source[$0].float }
    default: preconditionFailure("no float values of \(dtype)")
    }
  }

  /// A copy with memory of its own.
  public func copy() throws(Fault) -> Tensor {
    precondition(!isPanels)
    let result = try Tensor(shape, dtype, on: engine)
    if !engine.isPlanning { result.bytes.copyMemory(from: UnsafeRawBufferPointer(bytes)) }
    return result
  }

  /// This tensor in another compute type; itself if it has it already.
  public func converted(to dtype: DType) throws(Fault) -> Tensor {
    guard dtype != self.dtype else { return self }
    precondition(!isPanels)
    let result = try Tensor(shape, dtype, on: engine)
    engine.convert(self, into: result)
    return result
  }
}
