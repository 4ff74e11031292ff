import Support

/// Compares permutations, samplers and epoch runs with `samplers.json`.
/// - Throws: `FILE-001`, `DATA-101` if the golden itself cannot be read.
public func runSamplerGolden(golden: String) throws(Fault) -> GoldenReport {
  let value = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  for item in value["randperm"]?.array ?? [] {
    let count = item["n"]?.int ?? 0
    report.compare(
      "randperm \(count)", torchPermutation(count, seed: item["seed"]?.int ?? 0),
      item["permutation"]?.ints)
  }
  for (i, item) in (value["single"]?.array ?? []).enumerated() {
    compareSingle(&report, "single \(i + 1)", item)
  }
  for (i, item) in (value["cyclic"]?.array ?? []).enumerated() {
    compareCyclic(&report, "cyclic \(i + 1)", item)
  }
  for (i, item) in (value["epoch_runs"]?.array ?? []).enumerated() {
    compareRun(&report, "epoch run \(i + 1)", item)
  }
  return report
}

private func layout(_ item: JSONValue, _ kind: SamplerKind) throws(Fault) -> SamplerLayout {
  try SamplerLayout(
    kind: kind, rows: item["rows"]?.int ?? 0, microBatchSize: item["mbs"]?.int ?? 0,
    dataParallelSize: item["dp"]?.int ?? 0, dataSharding: item["data_sharding"]?.bool ?? true)
}

/// Batches of one rank from `first` to the end of the epoch.
private func batches(
  _ layout: SamplerLayout, epoch: Int, first: Int, rank: Int, permutation: [Int]
) -> [[Int]] {
  (first..<max(first, layout.microBatchesPerEpoch)).map {
    layout.rows(microBatch: $0, rank: rank, permutation: permutation)
  }
}

private func compareSingle(_ report: inout GoldenReport, _ name: String, _ item: JSONValue) {
  let wanted = item["batches_per_rank"]?.array ?? []
  do throws(Fault) {
    let layout = try layout(item, .single)
    let first = (item["consumed"]?.int ?? 0) / layout.stepBatch
    for (rank, batchesOfRank) in wanted.enumerated() {
      report.compare(
        "\(name) rank \(rank)",
        batches(layout, epoch: 0, first: first, rank: rank, permutation: []),
        batchesOfRank.intLists)
    }
  } catch {
    // Where not one step can be filled, the reference gives no batches and we refuse the data.
    let isEmpty = !wanted.isEmpty && wanted.allSatisfy { $0.array?.isEmpty == true }
    if isEmpty && error.code == .badSampler { report.cases += 1 } else { report.fail(name, error) }
  }
}

private func compareCyclic(_ report: inout GoldenReport, _ name: String, _ item: JSONValue) {
  do throws(Fault) {
    let layout = try layout(item, .cyclic)
    let schedule = try TrainingSchedule(
      layout: layout, globalBatchSize: layout.stepBatch, maxEpochs: nil)
    let start = try schedule.position(consumed: item["consumed"]?.int ?? 0)
    let inStep = item["ranks_in_step"]?.bool ?? true
    for (i, epoch) in (item["epochs"]?.array ?? []).enumerated() {
      let number = start.epoch + i
      let first = i == 0 ? start.microBatch : 0
      let order = layout.permutation(epoch: number)
      report.compare(
        "\(name) permutation \(number)", order, item["permutations"]?["\(number)"]?.ints)
      for (rank, batchesOfRank) in (epoch["batches_per_rank"]?.array ?? []).enumerated() {
        let found = batches(layout, epoch: number, first: first, rank: rank, permutation: order)
        // Where the reference's ranks fall out of step, ours all end with the shortest: from the
        // second epoch on its start is not that of any rule, so only the first is laid beside ours.
        if !inStep && i > 0 { continue }
        let wanted = batchesOfRank.intLists
        report.compare(
          "\(name) epoch \(number) rank \(rank)", found,
          inStep ? wanted : wanted.map { Array($0.prefix(found.count)) })
      }
    }
  } catch {
    report.fail(name, error)
  }
}

private func compareRun(_ report: inout GoldenReport, _ name: String, _ item: JSONValue) {
  do throws(Fault) {
    let layout = try layout(item, .cyclic)
    let schedule = try TrainingSchedule(
      layout: layout, globalBatchSize: item["gbs"]?.int ?? 0, maxEpochs: item["max_epochs"]?.int)
    let perStep = schedule.microBatchesPerStep
    report.compare("\(name) micro-batches", perStep, item["micro_batches"]?.int)
    let limit = schedule.trainIterations ?? 0
    let iterations = min(item["train_iters"]?.int ?? 0, limit)
    report.compare("\(name) last iteration", iterations, item["last_iteration"]?.int)
    report.compare(
      "\(name) end", (item["train_iters"]?.int ?? 0) <= limit ? "train_iters" : "data",
      item["end"]?.string)
    let begin = (item["consumed"]?.int ?? 0) / schedule.globalBatchSize
    var steps: [[[[Int]]]] = []
    for step in begin..<max(begin, iterations) {
      var microBatches: [[[Int]]] = []
      for k in 0..<perStep {
        let place = try schedule.position(consumed: (step * perStep + k) * layout.stepBatch)
        let order = layout.permutation(epoch: place.epoch)
        microBatches.append(
          (0..<layout.dataParallelSize).map {
            layout.rows(microBatch: place.microBatch, rank: $0, permutation: order)
          })
      }
      steps.append(microBatches)
    }
    report.compare(
      "\(name) steps", steps,
      item["steps"]?.array?.map { $0.array?.compactMap(\.intLists) ?? [] })
  } catch {
    report.fail(name, error)
  }
}
