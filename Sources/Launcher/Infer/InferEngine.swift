import DataPipeline
import Dispatch
import Foundation
import Parallel
import Support
import Synchronization

/// A model that answers, for programs of your own.
///
///     let engine = try InferEngine(model: "Qwen3-0.6B", maxBatchSize: 4)
///     let answers = try await engine.infer([InferRequest("Who are you?")])
///     for try await piece in try engine.stream(InferRequest("Tell me a story.")) {
///       print(piece.choices[0].delta.content, terminator: "")
///     }
///
/// One thread of the engine computes; requests of any number of tasks are answered side by side, and
/// an answer does not depend on what else runs. `close` ends the thread.
public final class InferEngine: Sendable {
  /// How the model is loaded and run.
  public struct Options: Sendable {
    /// `bfloat16`, `float16` or `float32`; nil: that of `config.json`.
    public var torchDType: String?
    /// Compute threads; nil: the cores of the machine.
    public var threads: Int?
    /// System text of requests without one.
    public var system: String?
    /// Name of the chat template; nil: that of the model.
    public var template: String?
    /// Most tokens of prompt and answer; nil: what the model takes.
    public var maxModelLength: Int?
    /// Seed of requests that name none.
    public var seed = 42
    public init() {}
  }

  let prompts: PromptBuilder
  let service: GenerationService

  /// - Parameters:
  ///   - model: a folder in published layout, or the id of a downloaded model.
  ///   - adapters: folders of adapters of the model; what they add is added up.
  ///   - maxBatchSize: answers that are made at a time; −1 for no limit.
  /// - Throws: what loading throws.
  public convenience init(
    model: String, adapters: [String] = [], maxBatchSize: Int = 1, options: Options = Options()
  ) throws(Fault) {
    var source = ModelSource()
    source.model = model
    source.adapters = adapters
    if let name = options.torchDType {
      guard let dtype = ModelFlags.TorchDType(rawValue: name) else {
        throw Fault(
          .badOptionValue, "there is no type \(name)",
          expected: ModelFlags.TorchDType.allCases.map(\.rawValue).joined(separator: ", "))
      }
      source.dtype = dtype
    }
    source.system = options.system
    source.template = options.template
    source.maxModelLength = options.maxModelLength
    source.seed = options.seed
    var launch = LaunchEnvironment(ProcessInfo.processInfo.environment)
    launch.mayDownload = true
    source.hub = HubAccess(launch, ModelFlags())
    source.variables = launch.variables
    var run = RunFlags()
    run.threads = options.threads
    try self.init(source, run: run, launch: launch, maxBatch: maxBatchSize)
  }

  init(
    _ source: ModelSource, run: RunFlags, launch: LaunchEnvironment, maxBatch: Int
  ) throws(Fault) {
    let service = GenerationService(capacity: .max)
    let loaded = Loading()
    // The thread that loads is the one that computes: an engine takes one caller.
    let thread = Thread {
      do throws(Fault) {
        let model = try LoadedModel(
          source, shape: MeshShape(ParallelFlags()), world: SelfWorld(),
          engine: try run.engine(launch))
        let driver = LoopDriver(model.loop(maxBatch: maxBatch), world: SelfWorld())
        loaded.finish(.success(model.prompts))
        try? service.drive(driver)
      } catch {
        loaded.finish(.failure(error))
      }
    }
    thread.stackSize = 8 << 20
    thread.start()
    prompts = try loaded.wait()
    self.service = service
  }

  deinit { service.close() }

  /// Ends the thread of the engine; open requests fail.
  public func close() { service.close() }

  /// One answer to each request (`n` choices each), in their order; all are made side by side.
  /// - Throws: a `Fault` for a conversation that cannot be answered or a step that failed.
  public func infer(
    _ requests: [InferRequest], _ config: RequestConfig = RequestConfig()
  ) async throws -> [InferResponse] {
    var open: [[(job: GenerationJob, events: AsyncThrowingStream<GenerationEvent, any Error>)]] = []
    for request in requests {
      let jobs = try jobs(request, config)
      open.append(try jobs.map { ($0, try events(of: $0)) })
    }
    var responses: [InferResponse] = []
    for jobs in open {
      var response = InferResponse(choices: [], usage: .init())
      response.usage.promptTokens = jobs.first?.job.prompt.count ?? 0
      for (index, (_, events)) in jobs.enumerated() {
        var answer = Answer(prompts)
        var finish = FinishReason.stop
        for try await event in events {
          _ = answer.add(event)
          finish = event.finish ?? finish
        }
        response.usage.completionTokens += answer.tokenCount
        response.choices.append(
          InferResponse.Choice(
            index: index, message: .init(role: "assistant", content: answer.text),
            finishReason: finish, logprobs: config.logprobs ? answer.logprobs : nil))
      }
      responses.append(response)
    }
    return responses
  }

  /// The answer to one request as it is made; one choice. Leaving the sequence ends the answer.
  /// - Throws: a `Fault` for a conversation that cannot be answered.
  public func stream(
    _ request: InferRequest, _ config: RequestConfig = RequestConfig()
  ) throws(Fault) -> AsyncThrowingStream<InferChunk, any Error> {
    var config = config
    config.n = 1
    let job = try jobs(request, config)[0]
    let events = try events(of: job)
    let prompts = prompts
    let wantsLogprobs = config.logprobs
    return AsyncThrowingStream { continuation in
      let task = Task {
        var answer = Answer(prompts)
        do {
          for try await event in events {
            let known = answer.logprobs.count
            let text = answer.add(event)
            let fresh = wantsLogprobs ? Array(answer.logprobs[known...]) : nil
            var chunk = InferChunk(choices: [
              .init(
                delta: .init(role: "assistant", content: text), finishReason: event.finish,
                logprobs: fresh)
            ])
            if event.finish != nil {
              var usage = InferResponse.Usage()
              usage.promptTokens = job.prompt.count
              usage.completionTokens = answer.tokenCount
              chunk.usage = usage
            }
            continuation.yield(chunk)
          }
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
      }
      continuation.onTermination = { _ in task.cancel() }
    }
  }

  private func jobs(_ request: InferRequest, _ config: RequestConfig) throws(Fault)
    -> [GenerationJob]
  {
    let first = try prompts.job(id: 0, request.row, config)
    return (0..<max(1, config.n)).map { i in
      var job = first
      job.rule.seed = first.rule.seed &+ UInt64(i)
      return job
    }
  }

  private func events(of job: GenerationJob) throws(Fault)
    -> AsyncThrowingStream<GenerationEvent, any Error>
  {
    let (stream, continuation) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream()
    let service = service
    let id = try service.submit(job) { result in
      switch result {
      case .success(let event):
        continuation.yield(event)
        if event.finish != nil { continuation.finish() }
      case .failure(let fault): continuation.finish(throwing: fault)
      }
    }
    continuation.onTermination = { reason in
      if case .cancelled = reason { service.cancel(id) }
    }
    return stream
  }
}

/// The outcome of loading, handed from the engine's thread to the one that waits for it.
private final class Loading: Sendable {
  private let result = Mutex<Result<PromptBuilder, Fault>?>(nil)
  private let ready = DispatchSemaphore(value: 0)

  func finish(_ value: Result<PromptBuilder, Fault>) {
    result.withLock { $0 = value }
    ready.signal()
  }

  func wait() throws(Fault) -> PromptBuilder {
    ready.wait()
    let value = result.withLock { $0 }
    return try (value ?? .failure(Fault(.internalError, "loading gave nothing"))).get()
  }
}
