import Model
import Support
import Tensor

/// The weights of a model that lies whole in the memory of this rank, as a source.
public struct ModelWeights: WeightSource {
  private let parameters: [String: Parameter]

  public init(_ model: QwenModel) {
    parameters = Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0) })
  }

  private func find(_ name: String) throws(Fault) -> Parameter {
    guard let parameter = parameters[name] else {
      throw Fault(.badModelWeights, "the model has no \(name)", at: .tensor(name))
    }
    return parameter
  }

  public func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    let parameter = try find(name)
    return (parameter.dtype, parameter.slices.globalShape)
  }

  public func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let parameter = try find(name)
    let size = parameter.dtype.size
    let width = parameter.slices.globalShape.dropFirst().reduce(1, *)
    let source = UnsafeRawBufferPointer(parameter.tensor.bytes)
    let isWhole = parameter.slices.localShape == parameter.slices.globalShape
    guard isWhole else {
      throw Fault(.internalError, "this rank has a part of \(name) only", at: .tensor(name))
    }
    let runs =
      parameter.slices.dim == 0
      ? parameter.slices.runs
      : [.init(local: 0, global: 0, count: parameter.slices.globalShape[0])]
    for run in runs {
      let common = (run.global..<run.global + run.count).clamped(to: rows)
      for row in common {
        let from = ((run.local + row - run.global) * width + columns.lowerBound) * size
        let to = (row - rows.lowerBound) * columns.count * size
        UnsafeMutableRawBufferPointer(rebasing: target[to..<to + columns.count * size])
          .copyMemory(
            from: UnsafeRawBufferPointer(rebasing: source[from..<from + columns.count * size]))
      }
    }
  }
}
