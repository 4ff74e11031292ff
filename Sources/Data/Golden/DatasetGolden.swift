import Support

/// Compares standard rows, orders and random numbers with `dataset.json`.
/// - Parameters:
///   - golden: path of the golden file.
///   - dataRoot: folder in which the rows stand in `sft/`.
/// - Throws: `FILE-001`, `DATA-101` if the golden itself cannot be read.
public func runDatasetGolden(golden: String, dataRoot: String) throws(Fault) -> GoldenReport {
  let value = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  for (file, rows) in value["standard_rows"]?.object?.members ?? [] {
    compareRows(&report, file: file, columns: [:], rows: rows, root: dataRoot)
  }
  for (name, rows) in value["with_columns"]?.object?.members ?? [] {
    // The name reads `FILE + {old:new, ...}`.
    let parts = name.split(separator: "+").map { $0.trimmingSpaces }
    let pairs = (parts.last ?? "").filter { !"{}".contains($0) }.split(separator: ",")
      .map { $0.split(separator: ":").map { $0.trimmingSpaces } }
    let columns = Dictionary(
      pairs.compactMap { $0.count == 2 ? ($0[0], $0[1]) : nil }, uniquingKeysWith: { $1 })
    compareRows(&report, file: parts.first ?? name, columns: columns, rows: rows, root: dataRoot)
  }
  let sizes = value["files"]?.object ?? JSONObject()
  for (i, item) in (value["order_cases"]?.array ?? []).enumerated() {
    compareOrder(&report, name: "order case \(i + 1)", item, sizes: sizes)
  }
  compareNumbers(&report, value["prng"])
  return report
}

private func compareRows(
  _ report: inout GoldenReport, file: String, columns: [String: String], rows: JSONValue,
  root: String
) {
  var options = DataOptions()
  options.sources.train = ["\(root)/sft/\(file)"]
  options.order.shuffle = false
  options.rows.columns = columns
  options.rows.acceptsMedia = true
  do throws(Fault) {
    let found = try DatasetPlan.rows(options: options).train.map { canonical($0.json).write() }
    let wanted = (rows.array ?? []).map { canonical($0).write() }
    report.compare("\(file) rows", found.count, wanted.count)
    for (i, pair) in zip(found, wanted).enumerated() {
      report.compare("\(file) row \(i + 1)", Array(pair.0.utf8), Array(pair.1.utf8))
    }
  } catch {
    report.fail(file, error)
  }
}

/// A row in one spelling: members by name, numbers as doubles, empty lists of media left out,
/// `loss` as a number.
private func canonical(_ value: JSONValue) -> JSONValue {
  switch value {
  case .number: return JSONValue(value.double ?? .nan)
  case .bool(let flag): return JSONValue(flag ? 1.0 : 0.0)
  case .array(let list): return .array(list.map(canonical))
  case .object(let object):
    let members = object.members.filter { key, value in
      !value.isNull
        && !(["images", "videos", "audios"].contains(key) && value.array?.isEmpty == true)
    }
    return .object(
      JSONObject(members.sorted { $0.key < $1.key }.map { ($0.key, canonical($0.value)) }))
  default: return value
  }
}

private func compareOrder(
  _ report: inout GoldenReport, name: String, _ item: JSONValue, sizes: JSONObject
) {
  let words = (item["dataset"]?.array ?? []).compactMap(\.string).map { $0.split(separator: "#") }
  let names = words.map { String($0.first ?? "") }
  let given = item["options"]
  var options = OrderOptions()
  options.shuffle = given?["shuffle"]?.bool ?? false
  options.seed = given?["seed"]?.int ?? 42
  options.splitRatio = given?["split_dataset_ratio"]?.double ?? 0
  options.interleave = given?["interleave_prob"]?.array?.compactMap(\.double)
  options.stopping =
    given?["stopping_strategy"]?.string.flatMap(StoppingStrategy.init) ?? .firstExhausted
  do throws(Fault) {
    let plan = try OrderPlan(
      sizes: names.map { sizes[$0]?.int ?? 0 },
      counts: words.map { $0.count > 1 ? Int($0[1]) : nil }, options: options)
    func texts(_ rows: [RowReference]) -> [String] {
      rows.map { "\(names[$0.source].prefix { $0 != "." })\($0.row)" }
    }
    func wanted(_ key: String) -> [String] {
      item[key]?.array?.compactMap(\.string) ?? []
    }
    report.compare("\(name) train", texts(plan.train), wanted("train"))
    report.compare("\(name) val", texts(plan.validation), wanted("val"))
  } catch {
    report.fail(name, error)
  }
}

private func compareNumbers(_ report: inout GoldenReport, _ value: JSONValue?) {
  var legacy = RandomState(seed: 42)
  report.compare(
    "RandomState permutation", legacy.permutation(10),
    value?["RandomState(42).permutation(10)"]?.ints)
  var seeds = RandomState(seed: 42)
  report.compare(
    "RandomState randint", (0..<3).map { _ in seeds.seed() },
    value?["RandomState(42).randint(0,2**31-1) x3"]?.ints)
  var modern = RandomGenerator(seed: 42)
  report.compare(
    "default_rng permutation", modern.permutation(10),
    value?["default_rng(42).permutation(10)"]?.ints)
}

extension Substring {
  fileprivate var trimmingSpaces: String {
    String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}
