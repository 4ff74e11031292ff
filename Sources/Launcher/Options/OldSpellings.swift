import Foundation
import Support

/// `--ckpt_dir` and `--lora_modules`, which older command lines of the reference have.
///
/// They are carried over before options are restored from the `args.json` of a folder.
enum OldSpellings {
  /// `lora_modules` and a `ckpt_dir` that has an `adapter_config.json` go behind `--adapters`; any other
  /// `ckpt_dir` is the model.
  static func fill(_ parsed: inout ParsedOptions) {
    var adapters: [String] = []
    if case .list(let folders)? = parsed["lora_modules"] { adapters += folders }
    if case .text(let folder)? = parsed["ckpt_dir"] {
      let config = PathText.absolute(folder) + "/adapter_config.json"
      if FileManager.default.fileExists(atPath: config) {
        adapters.append(folder)
      } else {
        parsed.set("model", .text(folder), .derived("--ckpt_dir"))
      }
    }
    guard !adapters.isEmpty else { return }
    if case .list(let given)? = parsed["adapters"] { adapters = given + adapters }
    parsed.set("adapters", .list(adapters), .derived("--ckpt_dir or --lora_modules"))
  }
}
