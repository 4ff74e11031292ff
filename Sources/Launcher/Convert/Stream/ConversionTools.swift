import Support
import Synchronization
import Tensor

/// What a thread needs to move tensors: memory for a part of one, and a converter of elements. Taken
/// for a tensor at a time and used again.
final class ConversionTools: Sendable {
  private struct Tool {
    let memory = StreamMemory()
    let cast: ElementCast
  }

  /// A tool belongs to the thread that took it.
  private struct Idle: @unchecked Sendable { var tools: [Tool] = [] }
  private let idle = Mutex(Idle())

  /// Finite values that became infinite on the way to fp16.
  var overflows: Int { idle.withLock { $0.tools.reduce(0) { $0 + $1.cast.overflows } } }

  func with(
    _ body: (StreamMemory, ElementCast) throws(Fault) -> Void
  ) throws(Fault) {
    let idleTool = idle.withLock { Idle(tools: $0.tools.popLast().map { [$0] } ?? []) }.tools.first
    let tool: Tool
    if let idleTool {
      tool = idleTool
    } else {
      tool = Tool(cast: ElementCast(engine: try Engine()))
    }
    defer { giveBack(Idle(tools: [tool])) }
    try body(tool.memory, tool.cast)
  }

  private func giveBack(_ tool: Idle) { idle.withLock { $0.tools += tool.tools } }
}
