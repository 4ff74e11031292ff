import Support

/// What an examination of data sets found.
public struct DoctorReport: Sendable {
  /// Everything to print, in order.
  public fileprivate(set) var lines: [String] = []
  /// Rows that cannot be used and files that cannot be read; rows over `max_length` are none.
  public fileprivate(set) var faults = 0
}

/// Examines data sets without training (`--doctor true`): every fault with its place, and what the
/// rows come to.
public struct DataDoctor: Sendable {
  let options: DataOptions
  let encode: RowEncoding
  let media: (any MediaLoading)?

  public init(
    options: DataOptions, encode: @escaping RowEncoding, media: (any MediaLoading)? = nil
  ) {
    var options = options
    // Everything is to be found, not the first of it.
    options.rows.strict = false
    self.options = options
    self.encode = encode
    self.media = media
  }

  /// A data set after its examination.
  private struct Finding {
    let word: String
    var kept: [EncodedRow] = []
  }

  /// Reads and encodes all rows of `--dataset` and `--val_dataset`.
  public func examine() -> DoctorReport {
    let log = ReportLog(textLimit: .max)
    let encoder = DatasetPlan.encoder(options, encode: encode, media: media, log: log)
    var report = DoctorReport()
    var findings: [Finding] = []
    for word in options.sources.train + options.sources.validation {
      do throws(Fault) {
        findings.append(try examine(word, encoder))
      } catch {
        report.faults += 1
        report.lines.append("doctor: \(word): \(error.description)")
      }
    }
    report.add(log.snapshot)
    report.lines += totals(findings.flatMap(\.kept))
    for finding in findings {
      let tokens = finding.kept.reduce(0) { $0 + $1.inputIDs.count }
      let trained = finding.kept.reduce(0) { $0 + $1.labels.count { $0 != -100 } }
      report.lines.append(
        "doctor: \(finding.word): \(finding.kept.count) usable rows, \(tokens) tokens, "
          + "\(trained) trained")
    }
    return report
  }

  private func examine(_ word: String, _ encoder: RowEncoder) throws(Fault) -> Finding {
    var finding = Finding(word: word)
    for source in try DatasetPlan.sources([word], options) {
      let rows = try RowLoader(options: options.rows, log: encoder.log).rows(of: source).rows
      let pass = EncodePass(
        encoder: encoder, threads: options.rows.threads, seed: options.order.seed)
      for (row, outcome) in zip(rows, try pass.outcomes(of: rows)) {
        encoder.record(outcome, of: row.source)
        if case .kept(let encoded, _, _) = outcome { finding.kept.append(encoded) }
      }
    }
    return finding
  }

  private func totals(_ rows: [EncodedRow]) -> [String] {
    let lengths = rows.map(\.inputIDs.count)
    guard let statistics = LengthStatistics(lengths) else { return ["doctor: no usable rows"] }
    var lines = ["doctor: \(statistics.line)"] + histogram(lengths)
    let pictures = rows.flatMap(\.media)
    if !pictures.isEmpty {
      let clips = pictures.count { $0.isClip }
      lines.append("doctor: \(pictures.count - clips) pictures, \(clips) clips")
    }
    if let capacity = options.encoding.packingLength ?? options.encoding.maxLength {
      let packs = Packing.packs(lengths: lengths, capacity: capacity).count
      let full = Double(lengths.reduce(0, +)) / Double(packs * capacity) * 100
      lines.append(
        "doctor: packing: \(rows.count) rows fill \(packs) packs of \(capacity) tokens to "
          + "\((full * 10).rounded() / 10) %")
    }
    let untrained = rows.count { $0.labels.allSatisfy { $0 == -100 } }
    lines.append("doctor: usable rows without trained tokens: \(untrained)")
    return lines
  }

  /// Rows by length, in powers of two.
  private func histogram(_ lengths: [Int]) -> [String] {
    var bins: [Int: Int] = [:]
    for length in lengths { bins[Int.bitWidth - length.leadingZeroBitCount - 1, default: 0] += 1 }
    let most = bins.values.max() ?? 1
    return bins.keys.sorted().map { power in
      let count = bins[power] ?? 0
      let bar = String(repeating: "#", count: max(1, count * 40 / most))
      return "doctor: \(1 << power)–\((1 << (power + 1)) - 1) tokens: \(count) \(bar)"
    }
  }
}

extension DoctorReport {
  /// The accounts of the files, with every reason.
  fileprivate mutating func add(_ report: DataReport) {
    lines += report.notes.map { "doctor: \($0)" }
    for file in report.files {
      // A reason begins with `line N:`.
      let places = { (text: String) in "doctor: \(file.path):\(text.dropFirst("line ".count))" }
      lines += file.reasons.map(places)
      lines += file.warningTexts.map { places($0) + " (warning)" }
      let usable = file.read - file.dropped - file.tooLong
      lines.append(
        "doctor: \(file.path): \(file.read) rows read, \(usable) usable, \(file.dropped) bad, "
          + "\(file.tooLong) over max_length, \(file.truncated) cut, \(file.warnings) warnings")
      faults += file.dropped
    }
  }
}
