import Foundation
import Support
import Testing

@testable import Launcher

@Suite("Configuration files and the environment")
struct ConfigFileTests {
  @Test("a first word that ends in .json is the whole command line, with native types")
  func firstWord() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write(
      "run.json",
      #"{"model": "m", "dataset": ["a", "b"], "max_epochs": 2, "lr": 1e-4, "packing": true, "max-length": 64, "system": null}"#
    )
    let options = try train([file], base: [])
    #expect(options.data.dataset == ["a", "b"])
    #expect(options.schedule.maxEpochs == 2 && options.schedule.lr == 1e-4)
    #expect(options.data.packing && options.data.maxLength == 64)
    #expect(options.report.parsed.origin("lr") == .file(file))
  }

  @Test("no words may follow the configuration file")
  func furtherWords() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("run.json", #"{"model": "m", "dataset": ["a"], "max_epochs": 2}"#)
    #expect(try trainFault([file, "--lr", "1"], base: []).code == .unknownOption)
  }

  @Test("an unknown key of the file is an error with the nearest name")
  func unknownKey() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("run.json", #"{"modle": "m"}"#)
    let fault = try trainFault([file], base: [])
    #expect(fault.code == .unknownOption && fault.message.contains("\"model\""))
  }

  @Test(
    "a file that cannot be used is a fault that names it",
    arguments: ["[1]", "{", "{\"lr\": {}}", "{\"max_epochs\": 1.5}", "{\"packing\": 3}"])
  func brokenFile(text: String) throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("run.json", text)
    let fault = try trainFault([file], base: [])
    #expect(fault.code == .badOptionValue && fault.description.contains(file))
  }

  @Test("a missing file is a missing input")
  func missing() throws {
    #expect(try trainFault(["/nowhere/run.json"], base: []).code.exit == .missingInput)
  }

  @Test("default < --config file < environment < command line")
  func order() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("c.json", #"{"threads": 2, "seed": 5, "lr": 1}"#)
    let variables = ["OMP_NUM_THREADS": "3"]
    let options = try train(["--config", file, "--lr", "2"], environment: variables)
    #expect(options.run.threads == 3 && options.schedule.seed == 5 && options.schedule.lr == 2)
    #expect(options.report.parsed.origin("threads") == .environment("OMP_NUM_THREADS"))
    #expect(try train(["--threads", "4"], environment: variables).run.threads == 4)
    #expect(try train([]).run.threads == nil)
  }

  @Test("variables of the launch are read with their defaults")
  func variables() throws {
    let launch = LaunchEnvironment([
      "USE_HF": "1", "LOG_LEVEL": "debug", "MCORE_READER_MAX_WORKERS": "3", "SWIFT_DEBUG": "1",
      "RANDOM_DATASET_RESPONSE": "False",
    ])
    #expect(launch.readerThreads == 3 && launch.debugsTokens && !launch.randomResponse)
    #expect(LaunchEnvironment([:]).readerThreads == 16 && LaunchEnvironment([:]).randomResponse)
    let options = try train([], environment: launch.variables)
    #expect(options.model.useHF && options.logging.loggingLevel == "debug")
  }

  @Test("a broken variable is named")
  func brokenVariable() throws {
    let fault = try trainFault([], environment: ["OMP_NUM_THREADS": "many"])
    #expect(fault.code == .badOptionValue && fault.message.contains("OMP_NUM_THREADS"))
    #expect(
      try trainFault([], environment: ["MCORE_READER_MAX_WORKERS": "0"]).code == .badOptionValue)
  }

  @Test("device variables of the reference change nothing")
  func deviceVariables() throws {
    let variables = [
      "CUDA_VISIBLE_DEVICES": "0,1", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
      "NVTE_FLASH_ATTN": "1", "MEGATRON_LM_PATH": "/nowhere",
    ]
    #expect(try train([], environment: variables).report.warnings.isEmpty)
  }

  @Test("NPROC_PER_NODE may not contradict the MPI world of a single node")
  func contradiction() throws {
    let variables = [
      "NPROC_PER_NODE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "2",
    ]
    #expect(try trainFault([], environment: variables).code == .launchContradiction)
    let equal = [
      "NPROC_PER_NODE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "2",
    ]
    #expect(try train([], environment: equal).report.world.size == 2)
  }

  @Test("WORLD_SIZE above 1 outside an MPI world is refused with the way to start")
  func worldWithoutMPI() throws {
    let fault = try trainFault([], environment: ["WORLD_SIZE": "2", "RANK": "1"])
    #expect(fault.code == .launchContradiction && fault.message.contains("mpirun -n 2"))
  }
}
