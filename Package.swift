// swift-tools-version: 6.1
import PackageDescription

// The house: which room may use which is drawn in ARCHITECTURE.md and enforced by
// `swift build --explicit-target-dependency-import-check error`.

let cSettings: [CSetting] = [
  .unsafeFlags(["-Wall", "-Wextra"]),
  // -ffp-contract=off: every fused multiply-add is written as one, so that the order of
  // roundings is ours and not the compiler's (docs/decisions/0002-canonical-order.md).
  .unsafeFlags(["-O3", "-fno-math-errno", "-ffp-contract=off"]),
]
/// Bodies that are compiled once per instruction-set level by `level/*.c`.
let kernelBodies = [
  "attention/backward.inc",
  "attention/common.inc",
  "attention/forward.inc",
  "elementwise/activation.inc",
  "elementwise/copy.inc",
  "elementwise/gelu.inc",
  "elementwise/layernorm.inc",
  "elementwise/loss.inc",
  "elementwise/map.inc",
  "elementwise/norm.inc",
  "elementwise/optimizer.inc",
  "elementwise/reduce.inc",
  "elementwise/rope.inc",
  "elementwise/rows.inc",
  "elementwise/small_floats.inc",
  "elementwise/transpose.inc",
  "gemm/micro.inc",
  "gemm/pack.inc",
  "inference/cached.inc",
  "inference/micro.inc",
  "level/all.inc",
  "level/table.inc",
]
/// What decodes pictures and clips; headers lie on the default path.
let mediaLibraries = [
  "jpeg", "png", "webp", "webpdemux", "gif", "avformat", "avcodec", "swscale", "avutil", "m",
]
let swift6: [SwiftSetting] = [.swiftLanguageMode(.v6)]

func room(_ name: String, _ dependencies: [Target.Dependency] = [], path: String? = nil) -> Target {
  .target(
    name: name, dependencies: dependencies, path: path, exclude: ["README.md"],
    swiftSettings: swift6)
}

/// Tests of a room; files they compare with lie in `Fixtures` and are found by `#filePath`.
func tests(
  _ name: String, of room: String? = nil, _ dependencies: [Target.Dependency],
  fixtures: Bool = false
) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: [.init(stringLiteral: room ?? name)] + dependencies,
    exclude: fixtures ? ["Fixtures"] : [], swiftSettings: swift6)
}

func program(_ name: String, _ dependencies: [Target.Dependency] = ["Launcher", "Support"])
  -> Target
{
  .executableTarget(name: name, dependencies: dependencies, swiftSettings: swift6)
}

let package = Package(
  name: "megatron-sft",
  products: [
    .executable(name: "megatron-sft", targets: ["megatron-sft"]),
    .executable(name: "megatron-pt", targets: ["megatron-pt"]),
    .executable(name: "megatron-export", targets: ["megatron-export"]),
    .executable(name: "megatron-infer", targets: ["megatron-infer"]),
    .executable(name: "megatron-parity", targets: ["megatron-parity"]),
    .executable(name: "megatron-bench", targets: ["megatron-bench"]),
    .executable(name: "megatron", targets: ["megatron"]),
    // Generation in programs of others (docs/inference.md).
    .library(name: "MegatronLauncher", targets: ["Launcher"]),
  ],
  targets: [
    // Libraries of the distribution.
    .systemLibrary(name: "COpenMPI", pkgConfig: "ompi-c", providers: [.apt(["libopenmpi-dev"])]),
    // Their pkg-config flags are prohibited ones or none: headers lie on the default path.
    .systemLibrary(name: "CUTF8Proc", providers: [.apt(["libutf8proc-dev"])]),
    .systemLibrary(name: "HDF5", pkgConfig: "hdf5", providers: [.apt(["libhdf5-dev"])]),
    .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CISAL", providers: [.apt(["libisal-dev"])]),
    .systemLibrary(name: "CCrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CZstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CSnappy", providers: [.apt(["libsnappy-dev"])]),
    .systemLibrary(name: "CZip", providers: [.apt(["libzip-dev"])]),

    // C rooms: opaque headers only.
    .target(
      name: "CMPI", dependencies: ["COpenMPI"], exclude: ["README.md"], cSettings: cSettings,
      linkerSettings: [.linkedLibrary("mpi")]),
    .target(
      name: "CKernels", exclude: ["README.md"] + kernelBodies, cSettings: cSettings,
      linkerSettings: [.linkedLibrary("pthread"), .linkedLibrary("m"), .linkedLibrary("dl")]),
    .target(
      name: "CMedia", exclude: ["README.md"], cSettings: cSettings,
      linkerSettings: mediaLibraries.map { .linkedLibrary($0) }),

    .target(
      name: "CHDF5", dependencies: ["HDF5"], exclude: ["README.md"], cSettings: cSettings),
    .target(
      name: "CFetch", exclude: ["README.md"], cSettings: cSettings,
      linkerSettings: [.linkedLibrary("curl"), .linkedLibrary("pthread")]),

    // Swift rooms.
    room("Support", ["CISAL", "CCrypto"]),
    room("Hub", ["Support", "CFetch"]),
    room("Tensor", ["Support", "CKernels"]),
    room("Parallel", ["Support", "Tensor", "CKernels", "CMPI"]),
    room("Model", ["Support", "Tensor", "Parallel", "CKernels"]),
    room("Optim", ["Support", "Tensor", "Parallel", "CKernels"]),
    room(
      "DataPipeline",
      [
        "Support", "Hub", "Tensor", "CUTF8Proc", "CMedia", "CHDF5", "CFetch", "CZlib", "CZstd",
        "CSnappy", "CZip",
      ], path: "Sources/Data"),
    room("Checkpoint", ["Support", "Tensor", "Parallel", "CZlib", "CISAL"]),
    room(
      "Launcher",
      [
        "Support", "Hub", "Tensor", "Parallel", "Model", "Optim", "DataPipeline", "Checkpoint",
        "CKernels",
      ]),

    // Programs.
    program("megatron-sft"), program("megatron-pt"), program("megatron-export"),
    program("megatron-infer"), program("megatron-parity"), program("megatron-bench"),
    program("megatron"),
    // Makes the tiny models of the recipes.
    .executableTarget(
      name: "tiny-model", dependencies: ["Launcher", "Support"], path: "tools/tiny-model",
      swiftSettings: swift6),
    // Reads damaged files; for tools/check.
    .executableTarget(
      name: "fuzz", dependencies: ["Checkpoint", "DataPipeline", "Support"], path: "tools/fuzz",
      swiftSettings: swift6),
    // Compares the weights of checkpoints; for tools/check.
    .executableTarget(
      name: "compare-weights", dependencies: ["Launcher", "Support"],
      path: "tools/compare-weights", swiftSettings: swift6),
    // Flips bits of a checkpoint and loads it; for tools/check.
    .executableTarget(
      name: "flip-bits", dependencies: ["Launcher", "Support"], path: "tools/flip-bits",
      swiftSettings: swift6),
    // A hub of this machine that speaks both protocols and drops connections; for tests and checks.
    .target(
      name: "LocalHub", dependencies: ["Support"], path: "Tests/LocalHub", swiftSettings: swift6),
    .executableTarget(
      name: "local-hub", dependencies: ["LocalHub", "Support"], path: "tools/local-hub",
      swiftSettings: swift6),
    // Multi-process test cases: `mpirun -n N rank-tests --case NAME`.
    program("rank-tests", ["Support", "Tensor", "Parallel"]),

    // Tests, one folder per room.
    tests("Support", []),
    tests("CKernels", []),
    tests("Hub", ["Support", "LocalHub"]),
    tests("Tensor", ["Support"]),
    tests("Parallel", ["Support", "Tensor", "rank-tests"], fixtures: true),
    tests("Model", ["Support", "Tensor", "Parallel"]),
    tests("Optim", ["Support", "Tensor", "Parallel"], fixtures: true),
    tests("Data", of: "DataPipeline", ["Support", "Hub", "LocalHub"], fixtures: true),
    tests("Checkpoint", ["Support", "Tensor"], fixtures: true),
    tests("Launcher", ["Support", "Hub", "LocalHub"], fixtures: true),
  ],
  cLanguageStandard: .gnu11
)
