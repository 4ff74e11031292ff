import Support
import Parallel

/// What a step with a NaN or infinite gradient or loss means.
public enum StepPolicy: Sendable, Equatable {
  /// The job ends with the name of the rank and of the parameter (bf16, fp32, fixed loss scale).
  case stop
  /// The step is left out and the loss scale told (fp16 with a dynamic scale).
  case skip
  /// The step is applied as it is (`check_for_nan_in_loss_and_grad false`).
  case apply
}

extension StepPolicy {
  /// Judges the local loss sum of a micro-batch.
  ///
  /// Not a collective: the throwing rank ends the job.
  /// - Throws: `OPTIM-202` with rank, iteration and value, under `stop`.
  public func judge(
    loss: Float, iteration: Int, world: any Communicator
  ) throws(Fault) {
    guard self == .stop, !loss.isFinite else { return }
    throw Fault(
      .nonFiniteLoss, "the loss of iteration \(iteration) is \(loss)",
      at: .rank(world.rank), expected: "a finite number",
      fix: "lower lr, lengthen the warmup, or look at the rows of this step")
  }
}
