import Support

/// What each program does once its options are read.
public enum ProgramBodies {
  public static let sft: Programs.Body<TrainingOptions> = { (options) throws(Fault) in
    try TrainingEntry.run(options)
  }
  public static let pt: Programs.Body<TrainingOptions> = { (options) throws(Fault) in
    try TrainingEntry.run(options)
  }
  public static let export: Programs.Body<ExportOptions> = { (options) throws(Fault) in
    try ExportEntry.run(options)
  }
  public static let infer: Programs.Body<InferOptions> = { (options) throws(Fault) in
    try InferEntry.run(options)
  }
  public static let parity: Programs.Body<ParityOptions> = { (options) throws(Fault) in
    try ParityEntry.run(options)
  }
  public static let bench: Programs.Body<BenchOptions> = { (options) throws(Fault) in
    try BenchEntry.run(options)
  }
}
