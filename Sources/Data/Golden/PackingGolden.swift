import Support

/// Compares packs with `packing.json`.
/// - Throws: `FILE-001`, `DATA-101` if the golden itself cannot be read.
public func runPackingGolden(golden: String) throws(Fault) -> GoldenReport {
  let value = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  for (i, item) in (value["cases"]?.array ?? []).enumerated() {
    let lengths = item["lengths"]?.ints ?? []
    let packs = Packing.packs(lengths: lengths, capacity: item["capacity"]?.int ?? 0)
    report.compare("case \(i + 1)", packs, item["packs"]?.intLists)
    report.compare(
      "case \(i + 1) lengths", packs.map { $0.reduce(0) { $0 + lengths[$1] } },
      item["pack_lengths"]?.ints)
  }
  return report
}

/// Compares packs by rounds of several sizes with the packings of `packing_cp.json`.
/// - Throws: `FILE-001`, `DATA-101` if the golden itself cannot be read.
public func runPackingRoundsGolden(golden: String) throws(Fault) -> GoldenReport {
  let value = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  for (i, item) in (value["packing"]?.array ?? []).enumerated() {
    report.compare(
      "packing \(i + 1)",
      Packing.packs(
        lengths: item["lengths"]?.ints ?? [], capacity: item["capacity"]?.int ?? 0,
        roundSize: item["chunk"]?.int ?? 1000),
      item["rows"]?.intLists)
  }
  return report
}
