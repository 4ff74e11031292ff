import Support

extension JSONValue {
  /// The value with its numbers as Python writes them after reading: `1E5` as `100000.0`, `-0`
  /// as `0`, whole numbers of any size as they are.
  var pythonNumbers: JSONValue {
    switch self {
    case .number(let text): return .number(PythonNumber.text(text))
    case .array(let items): return .array(items.map(\.pythonNumbers))
    case .object(let object):
      return .object(JSONObject(object.members.map { ($0.key, $0.value.pythonNumbers) }))
    case .null, .bool, .string: return self
    }
  }

  /// `json.dumps(json.loads(text), ensure_ascii=False)`.
  var pythonText: String { pythonNumbers.write(.python) }
}

enum PythonNumber {
  /// `repr` of a JSON number.
  static func text(_ number: String) -> String {
    if number == "-0" { return "0" }
    guard number.contains(where: { ".eE".contains($0) }) else { return number }
    guard let value = Double(number) else { return number }
    return text(value)
  }

  /// `repr(float)`: the shortest digits that read back, with an exponent below 1e-4 and from
  /// 1e16 on.
  static func text(_ value: Double) -> String {
    if value.isNaN { return "nan" }
    if value.isInfinite { return value < 0 ? "-inf" : "inf" }
    let sign = value.sign == .minus ? "-" : ""
    let (digits, point) = shortest(value.magnitude)
    // value = 0.DIGITS * 10^point
    let exponent = point - 1
    if value != 0 && (exponent < -4 || exponent >= 16) {
      let tail = digits.count > 1 ? "." + digits.dropFirst() : ""
      let size = abs(exponent)
      return
        "\(sign)\(digits.prefix(1))\(tail)e\(exponent < 0 ? "-" : "+")\(size < 10 ? "0" : "")\(size)"
    }
    if point <= 0 { return sign + "0." + String(repeating: "0", count: -point) + digits }
    if digits.count <= point {
      return sign + digits + String(repeating: "0", count: point - digits.count) + ".0"
    }
    return sign + digits.prefix(point) + "." + digits.dropFirst(point)
  }

  /// Shortest digits without zeros at the ends, and where the point stands. Swift finds the same
  /// shortest digits as Python; only the layout differs.
  private static func shortest(_ value: Double) -> (digits: String, point: Int) {
    let words = value.description.split(separator: "e")
    let exponent = words.count > 1 ? Int(words[1]) ?? 0 : 0
    let halves = words[0].split(separator: ".", omittingEmptySubsequences: false)
    let whole = String(halves[0])
    let fraction = halves.count > 1 ? String(halves[1]) : ""
    var digits = whole + fraction
    var point = whole.count + exponent
    while digits.count > 1 && digits.hasPrefix("0") {
      digits.removeFirst()
      point -= 1
    }
    while digits.count > 1 && digits.hasSuffix("0") { digits.removeLast() }
    return digits == "0" ? ("0", 1) : (digits, point)
  }
}
