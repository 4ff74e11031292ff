import CKernels
import Foundation
import Parallel
import Support
import Tensor

/// `--log_params_norm`: the root of Σ w² over every weight of the model, each counted once.
struct WeightNorm {
  let run: TrainingRun

  /// - Returns: the same on all ranks; NaN when a weight is not finite.
  /// - Communication: one double of each rank over the world.
  /// - Throws: `COMM-…`.
  func value() throws(Fault) -> Double {
    var sum = 0.0
    for parameter in run.model.parameters where run.holdsFirstCopy(of: parameter) {
      sum += squares(parameter.tensor)
    }
    return try run.groups.world.allDoubles(sum).reduce(0, +).squareRoot()
  }

  private func squares(_ tensor: Tensor) -> Double {
    let type = tensor.dtype == .bfloat16 ? CK_BF16 : CK_F32
    var sum = 0.0
    tensor.engine.kernel { engine in
      let largest = ck_absmax(engine, tensor.count, type, tensor.address)
      guard largest.isFinite else {
        sum = .nan
        return
      }
      guard largest > 0 else { return }
      let exponent = Int32(largest.exponent) + 1
      let exact = ck_sum_squares(engine, tensor.count, type, tensor.address, exponent)
      sum = scalbn(Double(exact.hi) * 0x1p32 + Double(exact.lo), 2 * Int(exponent) - 62)
    }
    return sum
  }
}

extension Communicator {
  /// One number of every rank, in rank order.
  /// - Throws: `COMM-…`.
  func allDoubles(_ own: Double) throws(Fault) -> [Double] {
    guard size > 1 else { return [own] }
    let send = [own]
    var all = [Double](repeating: 0, count: size)
    var fault: Fault?
    send.withUnsafeBytes { send in
      all.withUnsafeMutableBytes { all in
        do throws(Fault) { try allGather(send, into: all) } catch { fault = error }
      }
    }
    if let fault { throw fault }
    return all
  }
}
