import Foundation
import Launcher

// Asks every question of the command line, all at once, then tells the first answer again while it
// is made.
guard CommandLine.arguments.count > 2 else {
  print("usage: answers MODEL_FOLDER QUESTION ...")
  exit(2)
}
let engine = try InferEngine(model: CommandLine.arguments[1], maxBatchSize: 8)
let requests = CommandLine.arguments.dropFirst(2).map { InferRequest($0) }

var config = RequestConfig()
config.maxTokens = 128
config.temperature = 0
for (request, answer) in zip(requests, try await engine.infer(requests, config)) {
  print("[QUERY] \(request.messages[0].content)")
  print("[RESPONSE] \(answer.choices[0].message.content)")
  print("(\(answer.usage.completionTokens) tokens, \(answer.choices[0].finishReason.rawValue))\n")
}
for try await piece in try engine.stream(requests[0], config) {
  print(piece.choices[0].delta.content, terminator: "")
}
print()
engine.close()
