import Foundation
import Support
import Testing

@testable import Launcher

/// A small reader of event files, written apart from the writer.
struct EventReader {
  let bytes: [UInt8]
  var at = 0

  struct Broken: Error { let what: String }

  /// CRC-32C bit by bit.
  static func crc(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var crc: UInt32 = 0xFFFF_FFFF
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x82F6_3B78 : crc >> 1 }
    }
    return crc ^ 0xFFFF_FFFF
  }

  static func masked(_ bytes: some Sequence<UInt8>) -> UInt32 {
    let crc = crc(bytes)
    return ((crc >> 15) | (crc << 17)) &+ 0xA282_EAD8
  }

  mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
    guard count >= 0, at + count <= bytes.count else { throw Broken(what: "short at \(at)") }
    defer { at += count }
    return bytes[at..<(at + count)]
  }

  mutating func number<T: FixedWidthInteger>(_ type: T.Type) throws -> T {
    try take(T.bitWidth / 8).reversed().reduce(0) { $0 << 8 | T($1) }
  }

  mutating func varint() throws -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try take(1).first ?? 0
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
  }

  static func events(_ path: String) throws -> [EventRecord] {
    let data = try Data(contentsOf: URL(fileURLWithPath: path))
    var reader = EventReader(bytes: Array(data))
    var events: [EventRecord] = []
    while reader.at < reader.bytes.count {
      let start = reader.at
      let length = try reader.number(UInt64.self)
      let lengthBytes = reader.bytes[start..<(start + 8)]
      guard try reader.number(UInt32.self) == masked(lengthBytes) else {
        throw Broken(what: "length")
      }
      let payload = try reader.take(Int(length))
      guard try reader.number(UInt32.self) == masked(payload) else { throw Broken(what: "payload") }
      var inner = EventReader(bytes: Array(payload))
      events.append(try inner.event())
    }
    return events
  }

  mutating func event() throws -> EventRecord {
    var event = EventRecord(wallTime: 0, step: 0)
    while at < bytes.count {
      switch try varint() {
      case 1 << 3 | 1: event.wallTime = Double(bitPattern: try number(UInt64.self))
      case 2 << 3: event.step = Int(Int64(bitPattern: try varint()))
      case 3 << 3 | 2:
        event.fileVersion = String(decoding: try take(Int(try varint())), as: UTF8.self)
      case 5 << 3 | 2:
        var summary = EventReader(bytes: Array(try take(Int(try varint()))))
        event.scalars = try summary.scalars()
      case let key: throw Broken(what: "key \(key)")
      }
    }
    return event
  }

  mutating func scalars() throws -> [(tag: String, value: Float)] {
    var scalars: [(tag: String, value: Float)] = []
    while at < bytes.count {
      guard try varint() == 1 << 3 | 2 else { throw Broken(what: "summary") }
      var value = EventReader(bytes: Array(try take(Int(try varint()))))
      var tag = ""
      var number: Float = 0
      while value.at < value.bytes.count {
        switch try value.varint() {
        case 1 << 3 | 2:
          tag = String(decoding: try value.take(Int(try value.varint())), as: UTF8.self)
        case 2 << 3 | 5: number = Float(bitPattern: try value.number(UInt32.self))
        case let key: throw Broken(what: "value key \(key)")
        }
      }
      scalars.append((tag, number))
    }
    return scalars
  }
}

@Suite("TensorBoard event files")
struct EventFileTests {
  @Test("the checksum agrees with a published value and with a slow reference")
  func checksum() {
    #expect(EventReader.crc(Array("123456789".utf8)) == 0xE306_9283)
    let bytes = (0..<300).map { UInt8(truncatingIfNeeded: $0 &* 37) }
    for count in [0, 1, 7, 8, 9, 64, 300] {
      let part = Array(bytes.prefix(count))
      #expect(MaskedCRC.of(part) == EventReader.masked(part))
    }
  }

  @Test("what was written is read back: version, steps, tags, values")
  func roundTrip() throws {
    let folder = try TemporaryFolder()
    let file = try EventFile(folder: folder.path + "/runs", queueSize: 3, now: { 1_700_000_000.5 })
    try file.add([("lm loss", 1.5), ("grad-norm", -0.25)], step: 1)
    try file.add([("lm loss", .infinity)], step: 300)
    try file.add([("平", 1e-30)], step: 1 << 40)
    try file.add([("last", 2)], step: 0)
    try file.close()
    let events = try EventReader.events(file.path)
    #expect(events.count == 5)
    #expect(
      events[0] == EventRecord(wallTime: 1_700_000_000.5, step: 0, fileVersion: "brain.Event:2"))
    #expect(events[1].scalars.map(\.tag) == ["lm loss", "grad-norm"] && events[1].step == 1)
    #expect(events[1].scalars[1].value == -0.25 && events[2].scalars[0].value == .infinity)
    #expect(events[3].step == 1 << 40 && events[3].scalars[0].tag == "平")
    #expect(events[4].step == 0)
  }

  @Test("the name is events.out.tfevents.<seconds>.<host>.<pid>.<n>")
  func name() throws {
    let folder = try TemporaryFolder()
    let file = try EventFile(folder: folder.path, number: 2, now: { 1_700_000_000 })
    let name = file.path.split(separator: "/").last.map(String.init) ?? ""
    #expect(name.hasPrefix("events.out.tfevents.1700000000.") && name.hasSuffix(".2"))
  }

  @Test("points are kept back until the queue is full, and none is lost by closing")
  func queue() throws {
    let folder = try TemporaryFolder()
    let file = try EventFile(folder: folder.path, queueSize: 2)
    try file.add([("a", 1)], step: 1)
    #expect(try EventReader.events(file.path).count == 1)
    try file.add([("a", 1)], step: 2)
    #expect(try EventReader.events(file.path).count == 3)
    try file.add([("a", 1)], step: 3)
    try file.close()
    #expect(try EventReader.events(file.path).count == 4)
  }

  @Test("a step gives the tags of the reference, over iterations and over samples")
  func tags() {
    var record = LogLineTests.record
    record.losses.append(NamedLoss("load_balancing_loss", 1))
    let points = TrainingCurves().points(record, timers: [("optimizer", 0.5)], memoryBytes: 10)
    #expect(
      points.byIteration.map(\.tag) == [
        "learning-rate", "batch-size", "lm loss", "load_balancing_loss", "loss-scale", "grad-norm",
        "iteration-time", "mem-reserved-bytes", "mem-allocated-bytes", "mem-max-allocated-bytes",
        "optimizer-time",
      ])
    #expect(
      points.bySamples.map(\.tag) == [
        "learning-rate vs samples", "batch-size vs samples", "lm loss vs samples",
        "loss-scale vs samples", "grad-norm vs samples",
      ])
    let evaluation = TrainingCurves().points(
      EvalRecord(iteration: 1, losses: [NamedLoss("lm loss", 2)]))
    #expect(evaluation.byIteration.map(\.tag) == ["lm loss validation", "lm loss validation ppl"])
    #expect(
      evaluation.bySamples.map(\.tag) == [
        "lm loss validation vs samples", "lm loss validation ppl vs samples",
      ])
  }

  @Test("the flags switch curves off")
  func switchedOff() throws {
    let options = try train([
      "--no_log_learning_rate_to_tensorboard", "--no_log_memory_to_tensorboard",
      "--no_log_timers_to_tensorboard", "--no_log_validation_ppl_to_tensorboard",
    ])
    let curves = TrainingCurves(options.logging)
    let tags = curves.points(LogLineTests.record, timers: [("optimizer", 1)]).byIteration.map(\.tag)
    #expect(tags == ["batch-size", "lm loss", "loss-scale", "grad-norm", "iteration-time"])
    #expect(
      curves.points(EvalRecord(iteration: 1, losses: [NamedLoss("lm loss", 2)])).byIteration.count
        == 1)
  }
}
