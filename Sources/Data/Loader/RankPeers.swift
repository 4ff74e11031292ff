import Support

/// Ranks of a job that prepare the same data together. All of them make the same calls in the same
/// order, whatever their own rows are.
public protocol RankPeers: Sendable {
  var rank: Int { get }
  var size: Int { get }
  /// Whether this rank writes what one rank of each node keeps on disk.
  var leadsNode: Bool { get }

  /// The bytes of every rank, in rank order, on all.
  /// - Throws: `COMM-…`.
  func gather(_ bytes: [UInt8]) throws(Fault) -> [[UInt8]]

  /// What one rank makes, on all.
  /// - Throws: on all ranks what `make` throws on `root`; `COMM-…`.
  func share(from root: Int, _ make: () throws(Fault) -> [UInt8]) throws(Fault) -> [UInt8]

  /// - Throws: on all ranks the fault of the lowest rank that has one.
  func agree(_ fault: Fault?) throws(Fault)
}

extension Optional where Wrapped == any RankPeers {
  /// The peers, where there are others beside this rank.
  var several: (any RankPeers)? { flatMap { $0.size > 1 ? $0 : nil } }

  /// Runs what may fail on one rank only; a fault of one becomes the fault of all.
  func agreeing<R>(_ body: () throws(Fault) -> R) throws(Fault) -> R {
    guard let peers = several else { return try body() }
    var fault: Fault?
    var result: R?
    do throws(Fault) { result = try body() } catch { fault = error }
    try peers.agree(fault)
    guard let result else { throw Fault(.internalError, "an agreed step has no result") }
    return result
  }
}
