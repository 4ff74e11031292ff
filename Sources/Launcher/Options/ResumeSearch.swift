import Checkpoint
import Foundation
import Support

/// `--resume auto`: the newest run below `--save` that has a complete checkpoint becomes `--load`.
///
/// It does so before options are restored from the `args.json` of that run.
enum ResumeSearch {
  static func fill(_ parsed: inout ParsedOptions, form: TrainingOptions.Form) {
    guard parsed["resume"] == .text("auto"), !parsed.isGiven("load"),
      !parsed.isGiven("resume_from_checkpoint"), let save = save(parsed, form),
      let folder = newest(save)
    else { return }
    parsed.set("load", .text(folder), .derived("--resume auto"))
  }

  /// The folder of the runs, given or by default.
  private static func save(_ parsed: ParsedOptions, _ form: TrainingOptions.Form) -> String? {
    for name in ["save", "output_dir"] {
      if case .text(let path)? = parsed[name] { return PathText.absolute(path) }
    }
    guard case .text(let model)? = parsed["model"],
      let name = model.split(separator: "/").last
    else { return nil }
    return PathText.absolute("\(form == .swift ? "output" : "megatron_output")/\(name)")
  }

  /// - Returns: the run with the largest version that has a complete checkpoint, else `save` itself
  ///   if it has one, as without `--add_version`.
  static func newest(_ save: String) -> String? {
    let entries = (try? FileManager.default.contentsOfDirectory(atPath: save)) ?? []
    let runs = entries.compactMap { name in
      RunDirectory.version(of: name).map { (version: $0, name: name) }
    }
    let folders = runs.sorted { ($0.version, $0.name) > ($1.version, $1.name) }
      .map { "\(save)/\($0.name)" }
    return (folders + [save]).first {
      CheckpointLocator.newestComplete($0) != nil || CheckpointFolder.hasSetAside($0)
    }
  }
}
