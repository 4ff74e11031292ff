import Foundation
import Launcher
import Support

// tiny-model a3b|a3b-vl FOLDER LAYERS: a folder with the widths of Qwen3-30B-A3B or Qwen3-VL-30B-A3B, for
// measuring conversions.
// tiny-model dense|moe|vl|vl-moe FOLDER: writes one of the tiny models of the recipes.
let words = CommandLine.arguments.dropFirst()
if words.count == 3, let name = words.first, ["a3b", "a3b-vl"].contains(name),
  let layers = words.last.flatMap({ Int($0) }), layers > 0
{
  do {
    try SyntheticModel.write(layers: layers, vision: name == "a3b-vl", to: Array(words)[1])
    exit(ExitCode.done.rawValue)
  } catch {
    Terminal.write("\(error)\n", to: .error)
    exit(error.code.exit.rawValue)
  }
}
guard words.count == 2, let kind = words.first.flatMap(TinyModel.Kind.init(rawValue:)),
  let folder = words.last
else {
  Terminal.write(
    "usage: tiny-model dense|moe|vl|vl-moe FOLDER, tiny-model a3b|a3b-vl FOLDER LAYERS\n",
    to: .error)
  exit(ExitCode.usage.rawValue)
}
do {
  try TinyModel.write(kind, to: folder)
} catch {
  Terminal.write("\(error)\n", to: .error)
  exit(error.code.exit.rawValue)
}
