import Foundation
import Launcher
import Support

// tiny-model dense|moe FOLDER: writes one of the tiny models of the recipes.
let words = CommandLine.arguments.dropFirst()
guard words.count == 2, let kind = words.first.flatMap(TinyModel.Kind.init(rawValue:)),
  let folder = words.last
else {
  Terminal.write("usage: tiny-model dense|moe FOLDER\n", to: .error)
  exit(ExitCode.usage.rawValue)
}
do {
  try TinyModel.write(kind, to: folder)
} catch {
  Terminal.write("\(error)\n", to: .error)
  exit(error.code.exit.rawValue)
}
