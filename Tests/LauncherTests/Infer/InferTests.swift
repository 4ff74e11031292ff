import DataPipeline
import Foundation
import Parallel
import Support
import Tensor
import Testing

@testable import Launcher

@Suite("Answers of the library", .serialized)
struct InferEngineTests {
  private func engine(_ folder: TemporaryFolder, _ kind: TinyModel.Kind, batch: Int) throws
    -> InferEngine
  {
    let path = folder.path + "/\(kind)"
    if !FileManager.default.fileExists(atPath: path) { try TinyModel.write(kind, to: path) }
    var options = InferEngine.Options()
    options.threads = 1
    return try InferEngine(model: path, maxBatchSize: batch, options: options)
  }

  private var config: RequestConfig {
    var config = RequestConfig()
    config.maxTokens = 12
    config.temperature = 1
    config.seed = 5
    config.logprobs = true
    return config
  }

  @Test(
    "Answers in a batch are those of each request alone", arguments: [TinyModel.Kind.dense, .moe])
  func batches(kind: TinyModel.Kind) async throws {
    let folder = try TemporaryFolder()
    let requests = ["Hi", "Tell me about the sea.", "1 + 1", "Why?"].map { InferRequest($0) }
    let together = try await engine(folder, kind, batch: 3).infer(requests, config)
    let single = try engine(folder, kind, batch: 1)
    for (request, answer) in zip(requests, together) {
      #expect(try await single.infer([request], config) == [answer])
    }
    #expect(Set(together.map { $0.choices[0].message.content }).count > 1)
  }

  @Test("The pieces of a stream are the answer, and the last one tells the usage")
  func stream() async throws {
    let engine = try engine(TemporaryFolder(), .dense, batch: 2)
    let whole = try await engine.infer([InferRequest("Hi")], config)[0]
    var text = ""
    var last: InferChunk?
    for try await piece in try engine.stream(InferRequest("Hi"), config) {
      text += piece.choices[0].delta.content
      last = piece
    }
    #expect(text == whole.choices[0].message.content)
    #expect(last?.usage == whole.usage)
    #expect(last?.choices[0].finishReason == whole.choices[0].finishReason)
  }

  @Test("Leaving a stream ends the answer and the engine goes on")
  func cancel() async throws {
    let engine = try engine(TemporaryFolder(), .dense, batch: 1)
    var long = config
    long.maxTokens = 500
    for try await _ in try engine.stream(InferRequest("Hi"), long) { break }
    let next = try await engine.infer([InferRequest("Again")], config)
    #expect(next[0].usage.completionTokens > 0)
  }

  @Test("A conversation that continues computes only what is new, with equal answers")
  func prefix() throws {
    let folder = try TemporaryFolder()
    try TinyModel.write(.dense, to: folder.path)
    var source = ModelSource()
    source.model = folder.path
    let model = try LoadedModel(
      source, shape: MeshShape(ParallelFlags()), world: SelfWorld(), engine: Engine(threads: 1))
    func answer(_ loop: GenerationLoop, _ messages: [InferRequest.Message]) throws -> String {
      var config = RequestConfig()
      config.maxTokens = 20
      loop.submit(try model.prompts.job(id: 1, InferRequest(messages: messages).row, config))
      var answer = Answer(model.prompts)
      while !loop.isIdle { for event in try loop.step() { _ = answer.add(event) } }
      return answer.text
    }
    var messages = [InferRequest.Message(role: "user", content: "First question, with some words")]
    let loop = model.loop(maxBatch: 1)
    messages.append(.init(role: "assistant", content: try answer(loop, messages)))
    messages.append(.init(role: "user", content: "And now?"))
    #expect(loop.reusedTokens == 0)
    let continued = try answer(loop, messages)
    #expect(loop.reusedTokens > 20)
    #expect(try answer(model.loop(maxBatch: 1), messages) == continued)
  }

  @Test("An adapter changes the answers, merged or beside the weights; a zero one changes nothing")
  func adapters() async throws {
    let folder = try TemporaryFolder()
    let model = folder.path + "/dense"
    try TinyModel.write(.dense, to: model)
    let random = CounterRandom(seed: 1, purpose: "adapter")
    func adapter(_ name: String, scale: Float) throws -> String {
      let path = folder.path + "/" + name
      try Folder.make(path)
      try folder.write(
        name + "/adapter_config.json",
        #"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "#
          + #""target_modules": ["down_proj"], "base_model_name_or_path": "\#(model)"}"#)
      let base = "base_model.model.model.layers.1.mlp.down_proj"
      let tensors = [("lora_A", [2, 128], Float(1)), ("lora_B", [64, 2], scale)].map {
        half, shape, scale in
        (
          base + ".\(half).weight", shape,
          (0..<shape.reduce(1, *)).map { Float(random.normal($0)) * scale }
        )
      }
      try FloatTensors.write(tensors, to: path + "/adapter_model.safetensors")
      return path
    }
    func answer(_ path: String?, _ more: [String] = [], merges: Bool = false) async throws
      -> String
    {
      var source = ModelSource()
      // Without a name the base is the one that the adapter was made for.
      source.model = path == nil ? model : nil
      source.adapters = (path.map { [$0] } ?? []) + more
      source.merges = merges
      source.dtype = .float32
      var run = RunFlags()
      run.threads = 1
      let engine = try InferEngine(source, run: run, launch: LaunchEnvironment([:]), maxBatch: 1)
      var config = RequestConfig()
      config.maxTokens = 12
      config.temperature = 0
      return try await engine.infer([InferRequest("Hi")], config)[0].choices[0].message.content
    }
    let plain = try await answer(nil)
    #expect(try await answer(try adapter("zero", scale: 0)) == plain)
    let beside = try await answer(try adapter("large", scale: 0.5))
    #expect(beside != plain)
    #expect(try await answer(folder.path + "/large", merges: true) == beside)
    // Halves of it add up to it; so do it, another one and that one's negative.
    let half = try adapter("half", scale: 0.25)
    #expect(try await answer(half) != beside)
    #expect(try await answer(half, [half]) == beside)
    #expect(try await answer(half, [half], merges: true) == beside)
    let other = try adapter("other", scale: -0.5)
    #expect(try await answer(folder.path + "/large", [other]) == plain)
  }

  @Test("A prompt that leaves no room is refused, and no answer goes beyond the model")
  func length() async throws {
    let engine = try engine(TemporaryFolder(), .dense, batch: 1)
    let long = InferRequest(String(repeating: "a", count: 1100))
    await #expect(throws: Fault.self) { try await engine.infer([long], self.config) }
    var greedy = RequestConfig()
    greedy.temperature = 0
    let nearly = InferRequest(String(repeating: "a", count: 990))
    let answer = try await engine.infer([nearly], greedy)[0]
    #expect(answer.usage.totalTokens <= 1024)
  }
}

@Suite("Runs of megatron-infer", .serialized)
struct InferRunTests {
  private func lines(_ path: String) throws -> [JSONValue] {
    try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map {
      try JSONValue.parse(String($0))
    }
  }

  private func flags(_ job: TinyJob, _ result: String) -> [String] {
    [
      "--model", job.model, "--val_dataset", job.rows, "--max_new_tokens", "6", "--temperature",
      "0",
      "--result_path", result,
    ]
  }

  @Test("Batches of any size, streaming and tensor-parallel ranks write the same answers")
  func sameAnswers() throws {
    let job = try TinyJob(.moe, rowCount: 7)
    func run(_ name: String, _ words: [String], ranks: Int = 1) throws -> [JSONValue] {
      let path = job.folder.path + "/\(name).jsonl"
      let out = try EndToEnd.run(
        "megatron-infer", flags(job, path) + words, ranks: ranks, in: job.folder)
      #expect(out.status == 0, "\(out.text)")
      if name == "stream" {
        #expect(out.text.contains("[QUERY] Say 0\n[LABELS] Number 0.\n[RESPONSE] "))
        #expect(out.text.contains("num_generated_tokens"))
      }
      return try lines(path)
    }
    guard EndToEnd.hasPrograms else { return }
    let one = try run("one", [])
    #expect(one.count == 7)
    #expect(one[0].object?.keys.prefix(4) == ["response", "labels", "logprobs", "messages"])
    #expect(one[0]["labels"]?.string == "Number 0.")
    #expect(one[0]["messages"]?.array?.last?["content"] == one[0]["response"])
    #expect(try run("four", ["--max_batch_size", "4"]) == one)
    #expect(try run("stream", ["--stream", "true"]) == one)
    guard EndToEnd.hasRanks else { return }
    #expect(try run("replicas", ["--max_batch_size", "2"], ranks: 2) == one)
    #expect(try run("ep", ["--expert_model_parallel_size", "2"], ranks: 2) == one)
  }

  @Test("A run that was cut off goes on behind its last whole answer")
  func resume() throws {
    guard EndToEnd.hasPrograms else { return }
    let job = try TinyJob(.dense, rowCount: 6)
    let path = job.folder.path + "/r.jsonl"
    #expect(try EndToEnd.run("megatron-infer", flags(job, path), in: job.folder).status == 0)
    let whole = try String(contentsOfFile: path, encoding: .utf8)
    let half = whole.split(separator: "\n", omittingEmptySubsequences: false)
    try (half[..<3].joined(separator: "\n") + "\n" + half[3].prefix(20)).write(
      toFile: path, atomically: true, encoding: .utf8)
    let out = try EndToEnd.run("megatron-infer", flags(job, path), in: job.folder)
    #expect(out.text.contains("3 rows have answers"), "\(out.text)")
    #expect(try String(contentsOfFile: path, encoding: .utf8) == whole)
    // A whole file is appended to.
    #expect(try EndToEnd.run("megatron-infer", flags(job, path), in: job.folder).status == 0)
    #expect(try String(contentsOfFile: path, encoding: .utf8) == whole + whole)
  }
}
