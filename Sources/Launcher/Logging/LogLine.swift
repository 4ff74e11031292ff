import Foundation
import Support

func exponential(_ value: Double) -> Double { exp(value) }

/// The lines that users of Megatron's log know, field by field.
public enum LogLine {
  /// The line of a logged step, without line end.
  /// - Parameter time: the stamp in front.
  public static func text(_ record: StepRecord, at time: LocalTime) -> String {
    var fields = [
      " [\(time.logStamp)] iteration \(NumberText.padded(record.iteration, 8))/"
        + NumberText.padded(record.trainIters, 8),
      "consumed samples: \(NumberText.padded(record.consumedSamples, 12))",
    ]
    if record.skippedSamples > 0 {
      fields.append("skipped samples: \(NumberText.padded(record.skippedSamples, 12))")
    }
    fields += [
      "elapsed time per iteration (ms): \(NumberText.fixed(record.secondsPerIteration * 1000, 1))",
      "memory(GiB): \(NumberText.fixed(record.memoryGiB, 2))",
      "elapsed time: \(durationText(seconds: record.elapsedSeconds))",
      "remaining time: \(durationText(seconds: record.remainingSeconds))",
    ]
    if let throughput = record.throughput {
      fields.append("throughput per GPU (TFLOP/s/GPU): \(NumberText.fixed(throughput, 1))")
    }
    fields += [
      "learning rate: \(NumberText.scientific(record.learningRate))",
      "global batch size: \(NumberText.padded(record.globalBatchSize, 5))",
    ]
    fields += record.losses.map { "\($0.name): \(NumberText.scientific($0.value))" }
    fields.append("loss scale: \(NumberText.fixed(record.lossScale, 1))")
    if let norm = record.gradNorm { fields.append("grad norm: \(NumberText.fixed(norm, 3))") }
    if let zeros = record.zeroGradients { fields.append("num zeros: \(zeros)") }
    if let norm = record.paramsNorm { fields.append("params norm: \(NumberText.fixed(norm, 3))") }
    fields += [
      "number of skipped iterations: \(NumberText.padded(record.skippedIterations, 3))",
      "number of nan iterations: \(NumberText.padded(record.nanIterations, 3))",
    ]
    return fields.map { $0 + " |" }.joined(separator: " ")
  }

  /// The three lines of an evaluation: the result between two lines of dashes.
  public static func text(_ record: EvalRecord) -> String {
    let place = "iteration \(record.iteration)" + (record.isFinal ? " on validation set" : "")
    var line = " validation loss at \(place) | "
    for loss in record.losses {
      line += "\(loss.name) value: \(NumberText.scientific(loss.value)) | "
      if loss.name == record.losses.first?.name {
        let perplexity = EvalRecord.perplexity(loss.value)
        line += "\(loss.name) PPL: \(NumberText.scientific(perplexity)) | "
      }
    }
    let dashes = String(repeating: "-", count: line.count + 1)
    return [dashes, line, dashes].joined(separator: "\n")
  }
}
