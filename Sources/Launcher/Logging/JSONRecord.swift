import Support

/// The objects of `logging.jsonl`, keys in the order of the reference.
public enum JSONRecord {
  /// A logged step, in the keys of the form the run was started in.
  public static func object(_ record: StepRecord, form: TrainingOptions.Form = .megatron)
    -> JSONObject
  {
    form == .swift ? swift(record) : megatron(record)
  }

  private static func megatron(_ record: StepRecord) -> JSONObject {
    var object = JSONObject()
    for loss in record.losses { object[loss.name] = NumberText.json(loss.value) }
    object["grad_norm"] = record.gradNorm.map { NumberText.json($0) }
    object["params_norm"] = record.paramsNorm.map { NumberText.json($0) }
    object["learning_rate"] = NumberText.json(record.learningRate)
    object["elapsed_time_per_iteration"] = NumberText.json(record.secondsPerIteration)
    object["memory(GiB)"] = NumberText.json(record.memoryGiB, decimals: 2)
    object["elapsed_time"] = .string(durationText(seconds: record.elapsedSeconds))
    object["remaining_time"] = .string(durationText(seconds: record.remainingSeconds))
    object["throughput"] = record.throughput.map { NumberText.json($0) }
    object["loss_scale"] = NumberText.json(record.lossScale)
    object["consumed_samples"] = JSONValue(record.consumedSamples)
    object["global_step/max_steps"] = .string("\(record.iteration)/\(record.trainIters)")
    return object
  }

  private static func swift(_ record: StepRecord) -> JSONObject {
    var object = JSONObject()
    object["loss"] = record.losses.first.map { NumberText.json($0.value) }
    for loss in record.losses.dropFirst() { object[loss.name] = NumberText.json(loss.value) }
    object["token_acc"] = record.tokenAccuracy.map { NumberText.json($0) }
    object["grad_norm"] = record.gradNorm.map { NumberText.json($0) }
    object["learning_rate"] = NumberText.json(record.learningRate)
    object["epoch"] = record.epoch.map { NumberText.json($0) }
    object["global_step/max_steps"] = .string("\(record.iteration)/\(record.trainIters)")
    object["percentage"] = .string(percentage(record.iteration, of: record.trainIters))
    object["elapsed_time"] = .string(durationText(seconds: record.elapsedSeconds))
    object["remaining_time"] = .string(durationText(seconds: record.remainingSeconds))
    object["memory(GiB)"] = NumberText.json(record.memoryGiB, decimals: 2)
    let speed = record.elapsedSeconds > 0 ? Double(record.iteration) / record.elapsedSeconds : 0
    object["train_speed(iter/s)"] = NumberText.json(speed, decimals: 6)
    return object
  }

  /// An evaluation.
  public static func object(_ record: EvalRecord, form: TrainingOptions.Form = .megatron)
    -> JSONObject
  {
    var object = JSONObject()
    guard form == .swift else {
      for loss in record.losses { object["eval_" + loss.name] = NumberText.json(loss.value) }
      return object
    }
    object["eval_loss"] = record.losses.first.map { NumberText.json($0.value) }
    for loss in record.losses.dropFirst() {
      object["eval_" + loss.name] = NumberText.json(loss.value)
    }
    object["eval_token_acc"] = record.tokenAccuracy.map { NumberText.json($0) }
    if let seconds = record.runtimeSeconds {
      object["eval_runtime"] = NumberText.json(seconds, decimals: 4)
      let rate = { (count: Int) in seconds > 0 ? Double(count) / seconds : 0 }
      object["eval_samples_per_second"] =
        record.samples.map { NumberText.json(rate($0), decimals: 3) }
      object["eval_steps_per_second"] = record.steps.map { NumberText.json(rate($0), decimals: 3) }
    }
    object["epoch"] = record.epoch.map { NumberText.json($0) }
    return object
  }

  static func percentage(_ done: Int, of all: Int) -> String {
    NumberText.fixed(all > 0 ? 100 * Double(done) / Double(all) : 0, 2) + "%"
  }
}
