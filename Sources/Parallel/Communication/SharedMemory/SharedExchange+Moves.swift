import Support

/// Collectives that only move bytes.
extension SharedExchange {
  func broadcast(_ buffer: UnsafeMutableRawBufferPointer, from root: Int) throws(Fault) {
    let signature = Signature(kind: .broadcast, detail: root, bytes: buffer.count)
    try open(signature, wants: buffer.count)
    var at = 0
    repeat {
      let part = min(capacity, buffer.count - at)
      if rank == root {
        copy(buffer.baseAddress.map { $0 + at }, to: data(rank, turn: turn), bytes: part)
      }
      try at == 0 ? arriveAndCompare(signature) : arrive()
      if rank != root {
        copy(data(root, turn: turn), to: buffer.baseAddress.map { $0 + at }, bytes: part)
      }
      turn += 1
      at += part
    } while at < buffer.count
  }

  func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(Fault) {
    let largest = counts.max() ?? 0
    let starts = offsets(of: counts)
    let signature = Signature(kind: .allGather, detail: largest, bytes: receive.count)
    try open(signature, wants: largest)
    copy(
      send.baseAddress, to: receive.baseAddress.map { $0 + starts[rank] }, bytes: send.count)
    var at = 0
    repeat {
      let mine = min(capacity, send.count - at)
      copy(send.baseAddress.map { $0 + at }, to: data(rank, turn: turn), bytes: mine)
      try at == 0 ? arriveAndCompare(signature) : arrive()
      for member in others {
        let part = min(capacity, counts[member] - at)
        copy(
          data(member, turn: turn), to: receive.baseAddress.map { $0 + (starts[member] + at) },
          bytes: part)
      }
      turn += 1
      at += capacity
    } while at < largest
  }

  /// The bytes a rank sends are one stream through its slot; peers pick their part out of it.
  /// The place of the rank's block to itself stays empty there: it is copied directly.
  func allToAll(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int]
  ) throws(Fault) {
    let signature = Signature(kind: .allToAll)
    // How much the others send is known only from their headers, so the first piece goes out
    // before it is clear whether the slots must grow.
    try open(signature, wants: 0)
    publish(sendCounts, receiveCounts)
    let ownStart = offsets(of: sendCounts)[rank]
    let own = ownStart..<ownStart + sendCounts[rank]
    copyIn(send, at: 0, without: own)
    try arriveAndCompare(signature)
    let streams = try readStreams()
    let longest = streams.map(\.total).max() ?? 0
    if longest > capacity, canGrow {
      try finishOpening(signature, wants: longest)
      copyIn(send, at: 0, without: own)
      try arriveAndCompare(signature)
    }
    let starts = offsets(of: receiveCounts)
    copy(
      send.baseAddress.map { $0 + own.lowerBound },
      to: receive.baseAddress.map { $0 + starts[rank] }, bytes: own.count)
    var at = 0
    repeat {
      if at > 0 {
        copyIn(send, at: at, without: own)
        try arrive()
      }
      for member in others {
        pick(streams[member], from: member, at: at, to: receive, start: starts[member])
      }
      turn += 1
      at += capacity
    } while at < longest
  }

  /// Puts the window of the stream that begins at `at` into the slot, except the own block.
  private func copyIn(_ send: UnsafeRawBufferPointer, at: Int, without own: Range<Int>) {
    let slot = data(rank, turn: turn)
    let end = min(at + capacity, send.count)
    let before = at..<max(at, min(own.lowerBound, end))
    let next = max(at, own.upperBound)
    for part in [before, next..<max(next, end)] {
      copy(
        send.baseAddress.map { $0 + part.lowerBound }, to: slot + (part.lowerBound - at),
        bytes: part.count)
    }
  }

  /// The part of a member's stream that is for this rank.
  private struct Stream {
    let start: Int
    let count: Int
    let total: Int
  }

  private func publish(_ sendCounts: [Int], _ receiveCounts: [Int]) {
    let words = header(rank) + SlotLayout.headerWords
    for member in 0..<size {
      words[member] = Int64(sendCounts[member])
      words[size + member] = Int64(receiveCounts[member])
    }
  }

  /// Reads all headers. Every rank checks every pair, so that all stop if one pair disagrees.
  private func readStreams() throws(Fault) -> [Stream] {
    let counts = (0..<size).map { header($0) + SlotLayout.headerWords }
    for sender in 0..<size {
      for receiver in 0..<size where counts[sender][receiver] != counts[receiver][size + sender] {
        throw Fault(
          .differentCalls, "two members of group \(label) disagree about a block",
          at: .operation("all-to-all on \(label)"),
          expected: "member \(receiver) wants \(counts[receiver][size + sender]) bytes",
          found: "member \(sender) sends it \(counts[sender][receiver])")
      }
    }
    return (0..<size).map { member in
      let row = counts[member]
      let start = (0..<rank).reduce(0) { $0 + Int(row[$1]) }
      let total = (0..<size).reduce(0) { $0 + Int(row[$1]) }
      return Stream(start: start, count: Int(row[rank]), total: total)
    }
  }

  private func pick(
    _ stream: Stream, from member: Int, at: Int, to receive: UnsafeMutableRawBufferPointer,
    start: Int
  ) {
    let first = max(stream.start, at)
    let end = min(stream.start + stream.count, at + capacity)
    guard first < end else { return }
    copy(
      data(member, turn: turn) + (first - at),
      to: receive.baseAddress.map { $0 + (start + first - stream.start) }, bytes: end - first)
  }

  /// The peers, beginning after this rank, so that not all read the same slot at once.
  var others: [Int] { (1..<max(size, 1)).map { (rank + $0) % size } }
}
