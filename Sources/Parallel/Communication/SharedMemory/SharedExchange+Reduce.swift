import Support

/// Collectives that combine values. Each element is combined by exactly one rank (or by all, from
/// the same summands), always in one call over all ranks' values in rank order.
extension SharedExchange {
  func reduceScatter(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, count: Int,
    _ reduction: Reduction
  ) throws(Fault) {
    let element = reduction.elementBytes
    let signature = Signature(
      kind: .reduceScatter, detail: Int(reduction.code), bytes: count * element)
    try open(signature, wants: size * count * element)
    var at = 0
    repeat {
      let width = capacity / (element * size)
      let part = min(width, count - at)
      let slot = data(rank, turn: turn)
      for member in others {
        copy(
          send + (member * count + at) * element, to: slot + member * width * element,
          bytes: part * element)
      }
      try at == 0 ? arriveAndCompare(signature) : arrive()
      for member in others {
        sources[member] = UnsafeRawPointer(data(member, turn: turn) + rank * width * element)
      }
      // Nobody else needs this rank's own part, so it never enters the slot.
      sources[rank] = send + (rank * count + at) * element
      sources.combine(into: receive + at * element, count: part, reduction)
      turn += 1
      at += width
    } while at < count
  }

  func allReduce(
    _ buffer: UnsafeMutableRawPointer, count: Int, _ reduction: Reduction
  ) throws(Fault) {
    let bytes = count * reduction.elementBytes
    let signature = Signature(kind: .allReduce, detail: Int(reduction.code), bytes: bytes)
    try open(signature, wants: bytes)
    if bytes <= min(sizes.small, capacity) {
      copy(buffer, to: data(rank, turn: turn), bytes: bytes)
      try arriveAndCompare(signature)
      for member in 0..<size { sources[member] = UnsafeRawPointer(data(member, turn: turn)) }
      sources.combine(into: buffer, count: count, reduction)
      turn += 1
      return
    }
    try allReduceInPieces(
      Pieces(buffer: buffer, count: count, capacity: capacity, size: size, reduction), signature)
  }

  /// A large message cut into pieces that fill a slot, each cut into one slice per rank.
  private struct Pieces {
    let buffer: UnsafeMutableRawPointer
    let count: Int
    let reduction: Reduction
    let element: Int
    /// Elements of a piece.
    let width: Int
    let number: Int
    private let size: Int

    init(
      buffer: UnsafeMutableRawPointer, count: Int, capacity: Int, size: Int,
      _ reduction: Reduction
    ) {
      self.buffer = buffer
      self.count = count
      self.size = size
      self.reduction = reduction
      element = reduction.elementBytes
      width = capacity / element
      number = (count + width - 1) / width
    }

    /// Elements of the piece, from its begin, that `rank` adds up.
    func slice(_ piece: Int, of rank: Int) -> Range<Int> {
      let length = min(width, count - piece * width)
      // Whole cache lines, so that two ranks never write the same one.
      let share = (length + size * 16 - 1) / (size * 16) * 16
      let start = min(rank * share, length)
      return start..<min(start + share, length)
    }

    func place(_ piece: Int, _ slice: Range<Int>) -> UnsafeMutableRawPointer {
      buffer + (piece * width + slice.lowerBound) * element
    }
  }

  /// In each interval between two barriers a rank copies piece k in, adds its slice of piece k-1
  /// and copies the finished piece k-2 out: one barrier per piece.
  private func allReduceInPieces(_ pieces: Pieces, _ signature: Signature) throws(Fault) {
    let first = turn
    for step in 0..<pieces.number + 2 {
      if step < pieces.number { copyIn(pieces, step, turn: first + step) }
      if 1...pieces.number ~= step { addSlice(pieces, step - 1, turn: first + step - 1) }
      if step >= 2 { copyOut(pieces, step - 2, turn: first + step - 2) }
      if step == 0 {
        try arriveAndCompare(signature)
      } else if step <= pieces.number {
        try arrive()
      }
    }
    turn = first + pieces.number
  }

  private func copyIn(_ pieces: Pieces, _ piece: Int, turn: Int) {
    let slot = data(rank, turn: turn)
    for member in others {
      let slice = pieces.slice(piece, of: member)
      copy(
        pieces.place(piece, slice), to: slot + slice.lowerBound * pieces.element,
        bytes: slice.count * pieces.element)
    }
  }

  private func addSlice(_ pieces: Pieces, _ piece: Int, turn: Int) {
    let slice = pieces.slice(piece, of: rank)
    if slice.isEmpty { return }
    let offset = slice.lowerBound * pieces.element
    for member in others {
      sources[member] = UnsafeRawPointer(data(member, turn: turn) + offset)
    }
    let own = pieces.place(piece, slice)
    sources[rank] = UnsafeRawPointer(own)
    sources.combine(into: own, count: slice.count, pieces.reduction)
    copy(own, to: data(rank, turn: turn) + offset, bytes: slice.count * pieces.element)
  }

  private func copyOut(_ pieces: Pieces, _ piece: Int, turn: Int) {
    for member in others {
      let slice = pieces.slice(piece, of: member)
      copy(
        data(member, turn: turn) + slice.lowerBound * pieces.element,
        to: pieces.place(piece, slice), bytes: slice.count * pieces.element)
    }
  }
}
