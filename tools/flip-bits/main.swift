import Foundation
import Launcher
import Support

// flip-bits CHECKPOINT [--trials N] [--seed S]: every flipped bit must be found on load.
exit(BitFlipTrials.run(Array(CommandLine.arguments.dropFirst())).rawValue)
