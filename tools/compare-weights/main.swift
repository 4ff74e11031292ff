import Foundation
import Launcher
import Support

// compare-weights CHECKPOINT...: checksums of the weights, and how each differs from the first.
exit(WeightComparisonEntry.run(Array(CommandLine.arguments.dropFirst())).rawValue)
