import Support

/// Megatron's own options that only `--extra_megatron_kwargs` reaches.
public struct ExtraFlags: Sendable {
  /// Fixed fp16 loss scale; nil: dynamic.
  public var lossScale: Double?
  public var initialLossScale = 4_294_967_296.0
  public var minLossScale = 1.0
  public var lossScaleWindow = 1000
  public var hysteresis = 2
  public var exitDurationInMins: Int?
  public var exitInterval: Int?
  public var exitSignalHandler = false
  public var lrWarmupInit = 0.0
  public var startWeightDecay: Double?
  public var endWeightDecay: Double?
  public var weightDecayIncrStyle = IncreaseStyle.constant
  /// nil: `initializer_range` of config.json.
  public var initMethodStd: Double?
  public var checkForNaN = true
  public var overrideScheduler = false
  public var useCheckpointScheduler = false
  /// Elements of a bucket of gradients with `overlap_grad_reduce`; nil: by the data-parallel size.
  public var bucketSize: Int?
  /// Names of this table that were given.
  public private(set) var given: Set<String> = []

  /// Settings of the loss scale, which only fp16 has.
  static let scaleNames = [
    "loss_scale", "initial_loss_scale", "min_loss_scale", "loss_scale_window", "hysteresis",
  ]

  /// How the weight decay moves from its start to its end value.
  public enum IncreaseStyle: String, OptionChoice { case constant, linear, cosine }

  public init() {}

  static let table = OptionTable<ExtraFlags>(
    [
      Option(\.lossScale, "loss_scale", "Fixed loss scale of fp16.").atLeast(0.0),
      Option(\.initialLossScale, "initial_loss_scale", "First loss scale of fp16.").atLeast(0.0),
      Option(\.minLossScale, "min_loss_scale", "Smallest loss scale of fp16.").atLeast(0.0),
      Option(\.lossScaleWindow, "loss_scale_window", "Good steps before the scale grows.").atLeast(
        1),
      Option(\.hysteresis, "hysteresis", "Overflows before the scale shrinks.").atLeast(1),
      Option(\.exitDurationInMins, "exit_duration_in_mins", "Save and leave after these minutes.")
        .atLeast(1),
      Option(\.exitInterval, "exit_interval", "Save and leave at multiples of this iteration.")
        .atLeast(1),
      Option(\.exitSignalHandler, "exit_signal_handler", "Save on SIGTERM.").noEffect(
        "that is always so"),
      Option(\.lrWarmupInit, "lr_warmup_init", "Learning rate at the start of warm-up.").atLeast(
        0.0),
      Option(\.startWeightDecay, "start_weight_decay", "Weight decay at the start.").atLeast(0.0),
      Option(\.endWeightDecay, "end_weight_decay", "Weight decay at the end.").atLeast(0.0),
      .init(\.weightDecayIncrStyle, "weight_decay_incr_style", "How weight decay moves."),
      Option(\.initMethodStd, "init_method_std", "Deviation of random weights.").unset(
        "initializer_range of config.json"
      ).atLeast(0.0),
      .init(\.checkForNaN, "check_for_nan_in_loss_and_grad", "Stop at values that are not finite."),
      .init(
        \.overrideScheduler, "override_opt_param_scheduler",
        "Flags win over the schedule of the checkpoint."),
      .init(
        \.useCheckpointScheduler, "use_checkpoint_opt_param_scheduler",
        "The schedule of the checkpoint wins over flags."),
      Option(
        \.bucketSize, "ddp_bucket_size", "Elements of a bucket with --overlap_grad_reduce."
      ).unset("40000000, or 1000000 for each data-parallel rank").atLeast(1),
    ].under(.inert), defaults: ExtraFlags())

  /// Given names that do nothing, with the reason.
  var inert: [(name: String, why: String)] {
    Self.table.specs.compactMap { spec in
      guard case .none(let why) = spec.effect, given.contains(spec.name) else { return nil }
      return ("extra_megatron_kwargs \(spec.name)", why)
    }
  }

  /// Reads the object of `--extra_megatron_kwargs`.
  ///
  /// Names of this table are stored in `self`, names of the program's own options go to `parsed`
  /// where no flag said otherwise, anything else is a mistake.
  mutating func read<Root>(
    _ object: JSONObject, main: OptionTable<Root>, into parsed: inout ParsedOptions,
    complaints: inout Complaints
  ) {
    for (key, json) in object.members {
      let name = OptionName.normal(Substring(key))
      let own = Self.table.row(name)
      guard let spec = own?.spec ?? main.spec(name) else {
        let known = Self.table.rows.map(\.spec.name) + main.rows.map(\.spec.name)
        complaints.add(
          .unknownOption, "extra_megatron_kwargs",
          "\"\(key)\" is not known" + EditDistance.hint(name, among: known) { "\"\($0)\"" })
        continue
      }
      do throws(ValueReader.Failure) {
        guard let value = try ValueReader.value(spec.kind, json: json) else { continue }
        if let own {
          given.insert(name)
          if let why = spec.check?(value) {
            complaints.add(.badOptionValue, "extra_megatron_kwargs", "\"\(key)\": \(why)")
          }
          if let why = spec.refusal(of: value) {
            complaints.add(
              .refusedOption, "extra_megatron_kwargs",
              "\"\(key)\": \(value.shown) is refused: \(why)")
          }
          _ = own.assign(value, &self)
        } else if parsed.origin(spec.name) != .commandLine {
          parsed.set(spec.name, value, .extraKeywords)
        }
      } catch {
        complaints.add(.badOptionValue, "extra_megatron_kwargs", "\"\(key)\": \(error.text)")
      }
    }
  }
}
