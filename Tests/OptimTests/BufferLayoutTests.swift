import Support
import Testing

@testable import Optim

@Suite struct BufferLayoutTests {
  @Test("Stored layouts: slots, buckets and every rank's shard are equal")
  func storedLayouts() throws {
    let cases = try #require(Reference.json("grad_buffers")["cases"]?.array)
    #expect(cases.count == 18)
    for stored in cases {
      let shapes = try #require(stored["shapes"]?.array).map { $0.array?.compactMap(\.int) ?? [] }
      let layout = BufferLayout(
        counts: shapes.map { $0.reduce(1, *) }, groupSize: try #require(stored["dp"]?.int),
        isSharded: stored["distributed_optimizer"]?.bool == true,
        bucketSize: stored["bucket_size"]?.int)
      #expect(layout.count == stored["numel"]?.int)
      let buckets = try #require(stored["buckets"]?.array).map { $0.array?.compactMap(\.int) ?? [] }
      #expect(layout.buckets.map { [$0.lowerBound, $0.upperBound] } == buckets)
      for (name, place) in try #require(stored["params"]?.object).members {
        let slot = layout.slots[try #require(Int(name.dropFirst()))]
        #expect(
          [slot.range.lowerBound, slot.range.upperBound, slot.bucket]
            == place.array?.compactMap(\.int))
      }
      for (rank, perBucket) in try #require(stored["shards"]?.array).enumerated() {
        for (bucket, map) in try #require(perBucket.array).enumerated() {
          var own: [String: [Int]] = [:]
          for piece in layout.pieces(in: layout.shard(of: bucket, rank: rank)) {
            own["p\(piece.parameter)"] = [
              piece.range.lowerBound, piece.range.upperBound, piece.start,
            ]
          }
          let members = try #require(map.object).members
          #expect(own.count == members.count)
          for (name, range) in members { #expect(own[name] == range.array?.compactMap(\.int)) }
        }
      }
    }
  }

  @Test("Shards and gaps cut the buffer: every element of every parameter has one owner")
  func partition() {
    var random = TestRandom(seed: 7)
    for _ in 0..<50 {
      let counts = (0..<random.int(in: 1...6)).map { _ in random.int(in: 1...300) }
      let size = random.int(in: 1...5)
      let bucketSize = random.int(in: 0...1) == 0 ? nil : random.int(in: 1...400)
      let layout = BufferLayout(
        counts: counts, groupSize: size, isSharded: true, bucketSize: bucketSize)
      var owners = counts.map { [Int](repeating: 0, count: $0) }
      for bucket in layout.buckets.indices {
        for rank in 0..<size {
          for piece in layout.pieces(in: layout.shard(of: bucket, rank: rank)) {
            #expect(
              layout.slots[piece.parameter].range.lowerBound + piece.range.lowerBound
                == piece.start)
            for i in piece.range { owners[piece.parameter][i] += 1 }
          }
        }
      }
      #expect(owners.allSatisfy { $0.allSatisfy { $0 == 1 } })
      #expect(layout.gaps.reduce(0) { $0 + $1.count } + counts.reduce(0, +) == layout.count)
    }
  }
}
