import Support
import Tensor
import Testing

@testable import Parallel

/// A stored expert layer: whole weights and inputs, run in some layout.
struct ExpertRig: Sendable, CustomTestStringConvertible {
  let golden: GoldenCase
  let tensors: GoldenTensors
  let name: String
  var shape: MeshShape
  var world: Int
  /// Rows of one data-parallel rank.
  let rows: Int
  /// The data-parallel rank whose rows rank 0 gets.
  var firstReplica = 0
  /// Sums of sources are kept apart: the lane of each rank of the expert-parallel group.
  var lanes: [Int] = []
  let experts: Int
  let width: Int
  let hidden: Int
  var scope = RouterOptions.CapacityScope.group

  var testDescription: String {
    "\(name) tp \(shape.tp) ep \(shape.ep) etp \(shape.etp) of \(world)"
  }
  var hasCapacity: Bool { golden.has("capacity_factor") }
  var pads: Bool { golden.json["pad_to_capacity"]?.bool ?? false }

  init(_ golden: GoldenCase, _ tensors: GoldenTensors) throws {
    self.golden = golden
    self.tensors = tensors
    name = try golden.text("name")
    let tp = try golden.int("tp")
    shape = MeshShape(
      tp: tp, ep: try golden.int("ep"), etp: try golden.int("etp"), sequenceParallel: tp > 1)
    world = try golden.int("world")
    rows = try golden.int("rows_per_dp")
    experts = try golden.int("experts")
    width = try golden.int("ffn")
    hidden = try golden.int("hidden")
  }

  static func all() throws -> [ExpertRig] {
    let tensors = try Golden.tensors("moe_layer")
    return try Golden.cases("moe_layer").map { try ExpertRig($0, tensors) }
  }

  func options() throws -> RouterOptions {
    var options = RouterOptions(experts: experts, topK: try golden.int("topk"))
    options.preSoftmax = try golden.flag("pre_softmax")
    options.capacityFactor = golden.optional("capacity_factor")
    options.padsToCapacity = pads
    options.auxLossCoefficient = Float(try golden.double("aux_coeff"))
    options.capacityScope = scope
    return options
  }

  /// What one rank ends with.
  struct Part: Sendable {
    var place: MeshCoordinates
    var y: [Float] = []
    var dx: [Float] = []
    var router: [Float] = []
    var fc1: [[Float]] = []  // whole matrices of its experts, zero where others have columns
    var fc2: [[Float]] = []
    /// Of each expert and lane.
    var laneGradients: [[[Float]]] = []
    /// Rows of the global batch its experts work on, each expert's in order.
    var expertRows: [[Int]] = []
  }

  func run() throws -> [Part] {
    try ThreadWorld.run(ranks: world) { try self.rank($0) }
  }

  private func rank(_ world: any Communicator) throws -> Part {
    let mesh = try ProcessMesh(world: world, shape: shape)
    let engine = try Engine()
    var setting = try Setting.test(
      tokens: rows, on: engine, groups: ModelGroups(tp: mesh.tp, ep: mesh.ep, etp: mesh.etp),
      sequenceParallel: shape.sequenceParallel)
    setting.expertLanes = lanes
    let layer = try layer(mesh, engine)
    try attachLanes(layer, engine)
    let own = setting.ownRows
    let first = (firstReplica + mesh.coordinates.dp) * rows + own.lowerBound
    let range = first * hidden..<(first + own.count) * hidden
    let placement = shape.tp > 1 ? Placement(tp: .split(0)) : .same
    let tape = Tape()
    let x = tape.leaf(
      try Tensor(
        Array(try tensors.floats("\(name).x")[range]), [own.count, hidden], on: engine), placement)
    let context = Context(tape: tape, setting: setting)
    let y = try layer(x, in: context)
    try tape.seed(
      y,
      with: try Tensor(
        Array(try tensors.floats("\(name).grad_y")[range]), [own.count, hidden], on: engine))
    try tape.backward()
    var part = Part(place: mesh.coordinates)
    part.y = y.tensor.values
    part.dx = try #require(tape.gradient(of: x)).values
    part.router = layer.router.weight.gradientValues
    part.fc1 = layer.experts.input.map { whole($0.gradientValues, $0.slices) }
    part.fc2 = layer.experts.output.map { whole($0.gradientValues, $0.slices) }
    part.laneGradients = (layer.experts.input + layer.experts.output).map { parameter in
      parameter.lanes.map { whole($0.gradient.values, parameter.slices) }
    }
    part.expertRows = try expertRows(layer, x.tensor, first: first, context)
    return part
  }

  private func attachLanes(_ layer: ExpertLayer, _ engine: Engine) throws {
    guard !lanes.isEmpty else { return }
    for parameter in layer.experts.input + layer.experts.output {
      parameter.lanes = try Set(lanes).map { _ in
        Parameter.Lane(
          gradient: try Tensor.zeros(parameter.shape, .float32, on: engine), hasGradient: false)
      }
    }
  }

  private func whole(_ own: [Float], _ slices: ParameterSlices) -> [Float] {
    var values = [Float](repeating: 0, count: slices.globalShape.reduce(1, *))
    slices.forEach { values[$1] += own[$0] }
    return values
  }

  private func layer(_ mesh: ProcessMesh, _ engine: Engine) throws -> ExpertLayer {
    let place = mesh.coordinates
    let (f, h) = (width, hidden)
    let own = experts / shape.ep
    let parts = CanonicalOrder.localChunks(f, ranks: shape.etp)
    let fc1 = try tensors.floats("\(name).fc1")
    let fc2 = try tensors.floats("\(name).fc2")
    var input: [Parameter] = []
    var output: [Parameter] = []
    for e in place.ep * own..<(place.ep + 1) * own {
      input.append(
        try Parameter.test(
          "fc1.\(e)",
          .gated(width: f, columns: h, chunks: parts * shape.etp, rank: place.etp, of: shape.etp),
          Array(fc1[e * 2 * f * h..<(e + 1) * 2 * f * h]), on: engine))
      output.append(
        try Parameter.test(
          "fc2.\(e)", .even([h, f], dim: 1, rank: place.etp, of: shape.etp),
          Array(fc2[e * f * h..<(e + 1) * f * h]), on: engine))
    }
    let weight = try Parameter.test(
      "router", .whole([experts, h]), try tensors.floats("\(name).router"), on: engine)
    return ExpertLayer(
      router: Router(weight: weight, options: try options()),
      experts: GroupedExperts(input: input, output: output, parts: parts))
  }

  /// Sends the number of each row the way the rows go.
  private func expertRows(
    _ layer: ExpertLayer, _ x: Tensor, first: Int, _ context: Context
  ) throws -> [[Int]] {
    let tape = Tape(recording: false)
    let (_, routing) = try layer.router(
      Value(x, context.groups.tp.size > 1 ? Placement(tp: .split(0)) : .same),
      in: Context(tape: tape, setting: context.setting))
    let numbers = try Tensor((0..<x.rows).map { Float(first + $0) }, [x.rows, 1], on: x.engine)
    let buffer = try TokenDispatcher(routing, groups: context.groups).dispatch(
      Value(numbers), on: tape)
    let ordered = routing.expertRows.map { Int(buffer.tensor.floats[Int($0)]) }
    return (0..<routing.expertOffsets.count - 1).map {
      Array(ordered[routing.expertOffsets[$0]..<routing.expertOffsets[$0 + 1]])
    }
  }
}

extension [ExpertRig.Part] {
  /// Rows of all data-parallel ranks, each row once.
  func rows(_ value: (ExpertRig.Part) -> [Float]) -> [Float] {
    sorted { ($0.place.dp, $0.place.tp) < ($1.place.dp, $1.place.tp) }.flatMap(value)
  }

  /// Σ over data-parallel ranks; tensor-parallel peers have equal ones.
  func routerGradient() -> [Float] {
    var sum = [Float](repeating: 0, count: self[0].router.count)
    for part in self where part.place.tp == 0 {
      for i in sum.indices { sum[i] += part.router[i] }
    }
    return sum
  }

  /// Σ over all holders, expert by expert.
  func expertGradient(_ rig: ExpertRig, _ value: (ExpertRig.Part) -> [[Float]]) -> [Float] {
    let size = value(self[0])[0].count
    var sum = [Float](repeating: 0, count: rig.experts * size)
    for part in self {
      for (j, matrix) in value(part).enumerated() {
        let e = part.place.ep * (rig.experts / rig.shape.ep) + j
        for i in 0..<size { sum[e * size + i] += matrix[i] }
      }
    }
    return sum
  }
}
