import Foundation

/// Words of the command line that must not be read by other users of the machine.
enum SecretWords {
  /// Which words hold the value of one of the options, and from which character on.
  /// - Parameter words: with the program's name in front.
  static func places(_ names: [String], in words: [String]) -> [(word: Int, offset: Int)] {
    var found: [(Int, Int)] = []
    for (place, word) in words.enumerated() where word.hasPrefix("-") {
      let body = word.drop { $0 == "-" }
      let name = OptionName.normal(body.prefix { $0 != "=" })
      // A prefix of the name reaches the option too.
      guard !name.isEmpty, names.contains(where: { $0.hasPrefix(name) && name.count >= 5 }) else {
        continue
      }
      if let equals = word.firstIndex(of: "=") {
        found.append((place, word[...equals].utf8.count))
      } else if place + 1 < words.count {
        found.append((place + 1, 0))
      }
    }
    return found
  }

  /// Overwrites the values in the memory that `/proc/<pid>/cmdline` shows.
  static func overwriteInProcess(_ names: [String]) {
    let arguments = CommandLine.unsafeArgv
    for (word, offset) in places(names, in: CommandLine.arguments)
    where word < Int(CommandLine.argc) {
      guard let text = arguments[word] else { continue }
      let length = strlen(text)
      guard offset < length else { continue }
      memset(text + offset, Int32(UInt8(ascii: "*")), length - offset)
    }
  }
}
