import Support

/// Bounds of the pickle reader; each may be lowered by the caller.
public struct PickleLimits: Sendable {
  /// Bytes of the whole pickle.
  public var bytes = 1 << 30
  /// Open MARKs.
  public var marks = 10_000
  /// Values on the stack. A dictionary may put all its members on the stack at once, so this is no
  /// bound on nesting; nesting is bounded by `marks` and `depth`.
  public var stack = 20_000_000
  /// Remembered values.
  public var memo = 50_000_000
  /// Decoded values.
  public var nodes = 200_000_000
  /// Values after shared ones are written out, when a plain tree is asked for.
  public var expanded = 20_000_000
  /// Nesting of a plain tree.
  public var depth = 200

  public init() {}
}
