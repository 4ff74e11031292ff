import Checkpoint
import Foundation
import Support
import Tensor

/// Compares the tensors of Megatron checkpoints, byte for byte and then by number.
///
/// The layout a checkpoint was saved in does not matter: tensors are read whole, by name.
public struct WeightComparison {
  /// How one checkpoint differs from the first.
  public struct Difference: Sendable, Equatable {
    /// max |a − b| over all elements; NaN when one side alone is NaN.
    public var largest: Double
    /// Where it is.
    public var tensor: String
    /// Tensors with any different byte.
    public var tensors: Int
  }

  private let reader: TorchDistReader

  /// - Parameter path: the folder of a run, or an iteration folder.
  /// - Throws: `CKPT-…` when there is no whole checkpoint.
  public init(_ path: String) throws(Fault) {
    reader = try TorchDistReader(try CheckpointLocator.resolve(path).folder)
  }

  private var names: [String] { reader.index.tensors.keys.sorted() }

  /// CRC-32C over names, types, shapes and bytes of all tensors in order of their names.
  /// - Throws: `CKPT-…`.
  public func checksum() throws(Fault) -> UInt32 {
    var sum = CRC32C()
    for name in names {
      guard let spec = reader[name]?.spec else { continue }
      let head = CRC32C(Array("\(name) \(spec.dtype.rawValue) \(spec.shape) ".utf8))
      sum.append(head)
      sum.append(CRC32C(try reader.bytes(name)))
    }
    return sum.value
  }

  /// - Returns: nil when every tensor has the same bytes.
  /// - Throws: `CKPT-145` when the two do not hold the same tensors; `CKPT-…`.
  public func difference(from other: WeightComparison) throws(Fault) -> Difference? {
    guard names == other.names else { throw mismatch("the names of the tensors", other) }
    var found: Difference?
    for name in names {
      guard let own = reader[name]?.spec, let theirs = other.reader[name]?.spec else { continue }
      guard own.dtype == theirs.dtype, own.shape == theirs.shape else {
        throw mismatch("type or shape of \(name)", other)
      }
      let (a, b) = (try reader.bytes(name), try other.reader.bytes(name))
      guard a != b else { continue }
      let size = Self.largest(a, b, own.dtype)
      var entry = found ?? Difference(largest: size, tensor: name, tensors: 0)
      if size.isNaN || size > entry.largest { (entry.largest, entry.tensor) = (size, name) }
      entry.tensors += 1
      found = entry
    }
    return found
  }

  private func mismatch(_ what: String, _ other: WeightComparison) -> Fault {
    Fault(
      .differentCheckpoints, "\(what) differ from those of \(other.reader.folder)",
      at: .file(reader.folder), fix: "compare checkpoints of one model in one number format")
  }

  private static func largest(
    _ a: [UInt8], _ b: [UInt8], _ type: DType
  ) -> Double {
    let (x, y) = (numbers(a, type), numbers(b, type))
    var largest = 0.0
    for (p, q) in zip(x, y) where p.bitPattern != q.bitPattern {
      if p.isNaN != q.isNaN { return .nan }
      largest = max(largest, abs(Double(p) - Double(q)))
    }
    return largest
  }

  private static func numbers(
    _ bytes: [UInt8], _ type: DType
  ) -> [Float] {
    bytes.withUnsafeBytes { raw in
      switch type {
      case .float32:
        return (0..<raw.count / 4).map { raw.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
      case .bfloat16:
        return (0..<raw.count / 2).map {
          let word = raw.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)
          return Float(bitPattern: UInt32(word) << 16)
        }
      case .float16:
        return (0..<raw.count / 2).map {
          Float(Float16(bitPattern: raw.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)))
        }
      // Integers and bytes: which of them differ is all there is to say.
      default: return raw.map { Float($0) }
      }
    }
  }
}

/// The program `compare-weights`: checksums of checkpoints, and how each differs from the first.
public enum WeightComparisonEntry {
  /// Prints a line for each checkpoint.
  /// - Returns: 0 when all are equal, 1 when one differs, 2 without arguments.
  public static func run(_ paths: [String]) -> ExitCode {
    guard let first = paths.first else {
      Terminal.write("usage: compare-weights CHECKPOINT [CHECKPOINT ...]\n", to: .error)
      return .usage
    }
    do throws(Fault) {
      let reference = try WeightComparison(first)
      var code = ExitCode.done
      for path in paths {
        let other = try WeightComparison(path)
        let sum = String(format: "%08x", try other.checksum())
        if let found = try other.difference(from: reference) {
          code = .differs
          let size = String(format: "%.3g", found.largest)
          Terminal.write(
            "\(sum) differs by \(size) in \(found.tensor), \(found.tensors) tensors \(path)\n",
            to: .output)
        } else {
          Terminal.write("\(sum) equal \(path)\n", to: .output)
        }
      }
      return code
    } catch {
      Terminal.write(error.description + "\n", to: .error)
      return error.code.exit
    }
  }
}

extension FaultCode {
  static let differentCheckpoints = FaultCode(
    "CKPT-145", .usage, "two checkpoints that are compared do not hold the same tensors")
}
