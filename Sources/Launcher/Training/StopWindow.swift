import Support

/// The time that `mpirun` leaves its ranks between the first notice of a stop and their end.
///
/// Open MPI sends CONT at once, TERM after N seconds and KILL after 2·N, where N is
/// `odls_base_sigkill_timeout`, 1 by default. A step and a save that take longer are lost.
struct StopWindow {
  /// Seconds from the first notice to the end; nil where no such launcher is at work.
  let seconds: Double?
  private var hasWarned = false

  init(_ launch: LaunchEnvironment) {
    guard launch.variables["OMPI_COMM_WORLD_SIZE"] != nil else {
      seconds = nil
      return
    }
    let text = launch.variables["OMPI_MCA_odls_base_sigkill_timeout"] ?? ""
    seconds = 2 * (Double(text) ?? 1)
  }

  /// What to tell the user after a save that took `save` seconds; once.
  mutating func warning(save: Double) -> String? {
    guard let seconds, save > seconds, !hasWarned else { return nil }
    hasWarned = true
    let needed = Int((save * 0.75).rounded(.up))
    return "the save took \(NumberText.fixed(save, 1)) s, but mpirun ends its ranks "
      + "\(NumberText.fixed(seconds, 0)) s after TERM or Ctrl-C: such a stop would lose what was "
      + "trained since the last save; send USR1 before, or start with "
      + "mpirun --mca odls_base_sigkill_timeout \(needed)"
  }
}
