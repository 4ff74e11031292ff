import Parallel
import Support
import Tensor

struct TrainingParity {
  let folder: String
  let curves: GoldenCurves
  let run: GoldenCurves.Run
  let groups: RankGroups
  let engine: Engine
  let sequenceParallel: Bool
  func run(_ report: inout ParityReport) throws(Fault) -> GoldenCurves.Result {
    report.skip("train \(run.name)")
    return GoldenCurves.Result()
  }
}
