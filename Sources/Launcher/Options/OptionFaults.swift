import Support

extension FaultCode {
  public static let wrongOptions = FaultCode(
    "OPT-100", .usage, "the command line has mistakes of several kinds")
  public static let unknownOption = FaultCode(
    "OPT-101", .usage, "an option or word of the command line is not known")
  public static let badOptionValue = FaultCode(
    "OPT-102", .usage, "the value of an option cannot be read or is out of range")
  public static let optionsDisagree = FaultCode(
    "OPT-103", .usage, "options contradict each other or one that is needed is missing")
  public static let refusedOption = FaultCode(
    "OPT-104", .usage, "an option asks for something this program does not do")
  public static let unknownCommand = FaultCode(
    "OPT-105", .usage, "the dispatcher does not know the command word")
  public static let launchContradiction = FaultCode(
    "OPT-106", .usage, "the launch environment contradicts itself")
  public static let unknownFaultCode = FaultCode(
    "OPT-107", .usage, "--explain was given a code that does not exist")
  public static let worldDoesNotFit = FaultCode(
    "LAYOUT-002", .layout, "the number of ranks does not fit the parallel sizes")
}

/// One mistake of the command line.
struct Complaint: Sendable, Equatable {
  let code: FaultCode
  let option: String?
  let text: String

  init(_ code: FaultCode, _ option: String?, _ text: String) {
    self.code = code
    self.option = option
    self.text = text
  }

  var line: String { option.map { "--\($0): \(text)" } ?? text }
}

/// The mistakes found so far; all of them become one fault.
struct Complaints: Sendable {
  private(set) var list: [Complaint] = []
  var isEmpty: Bool { list.isEmpty }

  mutating func add(_ code: FaultCode, _ option: String?, _ text: String) {
    let complaint = Complaint(code, option, text)
    if !list.contains(complaint) { list.append(complaint) }
  }

  mutating func add(_ others: Complaints) {
    for complaint in others.list where !list.contains(complaint) { list.append(complaint) }
  }

  /// - Returns: nil without complaints. The code is the common one, or `OPT-100` for a mixture.
  func fault(program: String) -> Fault? {
    guard let first = list.first else { return nil }
    let fix = "see \(program) --help"
    if list.count == 1 {
      var fault = Fault(first.code, first.text, fix: fix)
      fault.place = first.option.map { .flag($0) }
      return fault
    }
    let code = list.allSatisfy { $0.code == first.code } ? first.code : .wrongOptions
    let lines = list.map { "  - " + $0.line }
    return Fault(
      code, "\(list.count) mistakes in the options:\n" + lines.joined(separator: "\n"), fix: fix)
  }
}
