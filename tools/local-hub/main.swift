import Foundation
import LocalHub
import Support

// local-hub PORT-FILE [--drop N] [--token-file FILE]: a hub of this machine, in memory, until it is
// ended. Its address is written into PORT-FILE. A folder argument KIND=ID=FOLDER fills a repository.
var words = Array(CommandLine.arguments.dropFirst())
var behaviour = LocalHub.Behaviour()
var repositories: [(kind: String, id: String, folder: String)] = []
var places: [String] = []
behaviour.largeFrom = 100_000
behaviour.partSize = 1 << 20
behaviour.pageSize = 100

func fail(_ text: String) -> Never {
  Terminal.write(text + "\n", to: .error)
  exit(ExitCode.usage.rawValue)
}

while !words.isEmpty {
  let word = words.removeFirst()
  let parts = word.split(separator: "=", maxSplits: 2).map(String.init)
  if word == "--drop", let every = words.first.flatMap({ Int($0) }) {
    behaviour.dropsEvery = every
    words.removeFirst()
  } else if word == "--token-file", let file = words.first {
    behaviour.token = (try? Secret(file: file))?.reveal()
    words.removeFirst()
  } else if parts.count == 3 {
    repositories.append((parts[0], parts[1], parts[2]))
  } else {
    places.append(word)
  }
}
guard places.count == 1 else {
  fail("usage: local-hub PORT-FILE [--drop N] [--token-file FILE] [models|datasets=ID=FOLDER ...]")
}
do {
  let hub = try LocalHub(behaviour)
  for (kind, id, folder) in repositories {
    let walk = FileManager.default.enumerator(atPath: folder)
    while let path = walk?.nextObject() as? String {
      guard Folder.kind(folder + "/" + path) == .file else { continue }
      hub.add(path, try AtomicFile.read(folder + "/" + path), to: id, kind: kind)
    }
  }
  try AtomicFile.write(hub.address + "\n", to: places[0])
  while true { Thread.sleep(forTimeInterval: 3600) }
} catch {
  Terminal.write("\(error)\n", to: .error)
  exit(70)
}
