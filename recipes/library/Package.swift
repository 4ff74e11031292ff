// swift-tools-version: 6.1
import PackageDescription

// A program of your own that asks a model: `swift run answers MODEL_FOLDER "A question"`.
let package = Package(
  name: "answers",
  dependencies: [.package(name: "megatron-sft", path: "../..")],
  targets: [
    .executableTarget(
      name: "answers", dependencies: [.product(name: "MegatronLauncher", package: "megatron-sft")])
  ])
