import Support

/// Writes the boxes and references of a row as text (data.md 6).
struct BoxTexts {
  let settings: MediaSettings

  /// Fills `references` and `boxes`; boxes that leave their picture are kept with a warning.
  /// - Throws: DATA-102 for a box of a picture that the row does not have.
  func write(into media: inout PreparedMedia) throws(Fault) {
    guard let objects = media.row.objects else { return }
    for value in objects["ref"]?.array ?? [] {
      let text = value.string ?? value.pythonText
      media.references.append(
        settings.boxFormat == .new ? text : "<|object_ref_start|>\(text)<|object_ref_end|>")
    }
    let isShare = objects["bbox_type"]?.string == "norm1"
    let ids = objects["image_id"]?.array ?? []
    for (i, value) in (objects["bbox"]?.array ?? []).enumerated() {
      let numbers = value.array ?? []
      guard !media.pictures.isEmpty else {
        media.boxes.append(text(numbers.map(\.pythonText)))
        continue
      }
      let id = i < ids.count ? ids[i].int ?? 0 : 0
      guard media.pictures.indices.contains(id) else {
        throw Fault(
          .badRow, "image_id \(id), but \(media.pictures.count) pictures",
          at: .file(media.row.source.file, line: media.row.source.line),
          fix: "image_id counts from 0")
      }
      let scaled = scale(numbers.map { $0.double ?? 0 }, media.pictures[id], isShare: isShare)
      if settings.boxScale == .norm1000, scaled.contains(where: { !(0...1000).contains($0) }) {
        media.warnings.append("objects.bbox[\(i)] leaves its picture; it is written as it is")
      }
      media.boxes.append(text(scaled.map { whole($0) }))
    }
  }

  /// Coordinates x, y, x, y in thousandths of the stored picture, or in pixels of the resized one.
  private func scale(
    _ numbers: [Double], _ picture: MediaProcessor.MeasuredPicture, isShare: Bool
  ) -> [Double] {
    numbers.enumerated().map { place, value in
      let isX = place % 2 == 0
      let side = isShare ? 1 : Double(isX ? picture.stored.width : picture.stored.height)
      let target =
        settings.boxScale == .norm1000
        ? 1000 : Double(isX ? picture.size.width : picture.size.height)
      return (value / side * target).rounded(.toNearestOrEven)
    }
  }

  private func whole(_ value: Double) -> String {
    Int(exactly: value).map(String.init) ?? PythonNumber.text(value)
  }

  private func text(_ numbers: [String]) -> String {
    if settings.boxFormat == .new { return "[\(numbers.joined(separator: ", "))]" }
    let corners = stride(from: 0, to: numbers.count, by: 2).map {
      "(\(numbers[$0..<min($0 + 2, numbers.count)].joined(separator: ",")))"
    }
    return "<|box_start|>\(corners.joined(separator: ","))<|box_end|>"
  }
}
