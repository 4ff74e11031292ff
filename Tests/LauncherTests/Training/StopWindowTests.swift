import Testing

@testable import Launcher

@Suite struct StopWindowTests {
  @Test("a save longer than mpirun's patience is told once, with the flag that mends it")
  func tooShort() {
    var window = StopWindow(LaunchEnvironment(["OMPI_COMM_WORLD_SIZE": "2"]))
    #expect(window.warning(save: 1.9) == nil)
    #expect(window.warning(save: 20)?.contains("odls_base_sigkill_timeout 15") == true)
    #expect(window.warning(save: 30) == nil)
  }

  @Test("the timeout that mpirun was given counts")
  func given() {
    var window = StopWindow(
      LaunchEnvironment([
        "OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_odls_base_sigkill_timeout": "14",
      ]))
    #expect(window.warning(save: 27) == nil)
    #expect(window.warning(save: 29) != nil)
  }

  @Test("without mpirun nobody kills the ranks")
  func alone() {
    var window = StopWindow(LaunchEnvironment([:]))
    #expect(window.warning(save: 1e6) == nil)
  }
}
