import CMedia
import Support

/// Measures media, and makes their patches when they are needed (data.md 10 and 11).
public struct MediaProcessor: Sendable {
  public let settings: MediaSettings
  let reader: MediaReader

  public init(_ settings: MediaSettings) {
    self.settings = settings
    reader = MediaReader(settings: settings)
  }

  /// A picture whose size is known.
  struct MeasuredPicture: Sendable {
    let item: MediaItem
    /// As stored, before anything is scaled.
    let stored: PictureSize
    /// As the tower sees it.
    let size: PictureSize
  }

  /// A clip whose frames are chosen.
  struct MeasuredClip: Sendable {
    let item: MediaItem
    /// Text before each frame pair.
    let times: [String]
  }

  /// Reads the header of a picture and chooses its size.
  /// - Throws: `DATA-401` to `DATA-403`, `DATA-405`.
  func measurePicture(_ name: MediumName) throws(Fault) -> MeasuredPicture {
    let stored = try encoded(name).size
    let capped = settings.cappedSize(stored)
    let size = try settings.pictureSize(capped ?? stored, name)
    return MeasuredPicture(
      item: MediaItem(
        grid: grid(size, frames: settings.temporalPatch),
        recipe: .picture(name, capped: capped, size: size)), stored: stored, size: size)
  }

  /// Reads the packets of a clip, or the headers of a list of frames, and chooses frames and size.
  /// - Throws: `DATA-401` to `DATA-403`, `DATA-405`.
  func measureClip(_ value: JSONValue, field: String) throws(Fault) -> MeasuredClip {
    if let list = value.array { return try measureList(list, field: field) }
    guard let source = MediaSource(value) else {
      throw Fault(.badMedia, "\(field) names no clip", fix: "give the path of a clip")
    }
    let name = MediumName(field: field, source: source)
    let clip = try Clip(name, reader)
    let sampling = try FrameSampling(
      frames: clip.frames, rate: clip.rate, settings: settings, name)
    let size = try settings.clipSize(clip.size, frames: sampling.indices.count, name)
    return MeasuredClip(
      item: MediaItem(
        grid: grid(size, frames: sampling.indices.count),
        recipe: .clip(name, indices: sampling.indices, size: size)),
      times: sampling.times(temporal: settings.temporalPatch))
  }

  private func measureList(_ list: [JSONValue], field: String) throws(Fault) -> MeasuredClip {
    var names: [MediumName] = []
    var each: PictureSize?
    for (i, value) in list.enumerated() {
      guard let source = MediaSource(value) else {
        throw Fault(
          .badMedia, "\(field)[\(i)] names no picture", fix: "list the paths of the frames")
      }
      let name = MediumName(field: "\(field)[\(i)]", source: source)
      let size = try settings.pictureSize(try encoded(name, usesRoot: false).size, name)
      if let each, each != size {
        throw name.bad(
          "has another size than the frames before it: \(size.width)×\(size.height) after "
            + "resizing, they have \(each.width)×\(each.height)", fix: "give frames of one size")
      }
      each = size
      names.append(name)
    }
    guard let each, let first = names.first else {
      throw Fault(.badMedia, "\(field) has no frames", fix: "list the paths of the frames")
    }
    let sampling = FrameSampling(list: names.count, factor: settings.frameFactor)
    guard sampling.indices.count <= settings.limits.frames else {
      throw first.bad("the list has too many frames", code: .mediaTooLarge)
    }
    let size = try settings.clipSize(each, frames: sampling.indices.count, first)
    return MeasuredClip(
      item: MediaItem(
        grid: grid(size, frames: sampling.indices.count),
        recipe: .list(names, each: each, size: size)),
      times: sampling.times(temporal: settings.temporalPatch))
  }

  private func grid(_ size: PictureSize, frames: Int) -> MediaGrid {
    MediaGrid(
      t: (frames + settings.temporalPatch - 1) / settings.temporalPatch,
      h: size.height / settings.patch, w: size.width / settings.patch)
  }

  private func encoded(_ name: MediumName, usesRoot: Bool = true) throws(Fault) -> EncodedPicture {
    let bytes = try reader.bytes(name, limit: settings.limits.pictureBytes, usesRoot: usesRoot)
    return try EncodedPicture(bytes, name, limits: settings.limits)
  }
}

extension MediaProcessor: MediaLoading {
  /// Decodes every medium of the row and throws the pixels away: what is damaged is found before
  /// training.
  /// - Returns: warnings about what is kept but doubtful.
  public func check(_ row: EncodedRow) throws(Fault) -> [String] {
    var warnings: [String] = []
    for item in row.media where item.stored == nil {
      switch item.recipe {
      case .picture(let name, _, _):
        if try encoded(name).decoded().isClipped {
          warnings.append("\(name.text): 16-bit grey values over 255 become white")
        }
      case .clip(let name, let indices, _):
        let clip = try Clip(name, reader)
        for index in indices { _ = try clip.frame(index) }
      case .list(let names, _, _):
        for name in names { _ = try encoded(name, usesRoot: false).decoded() }
      }
    }
    return warnings
  }

  /// The row with the patches of its media.
  public func load(_ row: EncodedRow) throws(Fault) -> EncodedRow {
    var row = row
    for i in row.media.indices where row.media[i].patches == nil {
      row.media[i].patches = try patches(of: row.media[i])
    }
    return row
  }

  /// The media files that a row names, where they are.
  public func files(of row: StandardRow) -> [String] {
    let values = row.images + row.videos.flatMap { $0.array ?? [$0] }
    return values.compactMap { value in
      guard case .file(let path)? = MediaSource(value) else { return nil }
      return place(of: path)
    }
  }

  /// Where a path of a row leads; the path itself where nothing is there.
  public func place(of path: String) -> String {
    (try? reader.path(path, MediumName(field: "", source: .file(path)))) ?? path
  }

  private func patches(of item: MediaItem) throws(Fault) -> MediaPatches {
    if let stored = item.stored {
      let patches = try stored.read()
      let area = settings.patch * settings.patch
      guard patches.bytes.count == item.grid.patches * 3 * patches.slots * area,
        patches.slots == 1 || patches.slots == settings.temporalPatch
      else {
        throw Fault(
          .badStore, "the patches of \(item.name) have another size", at: .file(stored.path))
      }
      return patches
    }
    switch item.recipe {
    case .picture(let name, let capped, let size):
      let picture = try picture(name, capped: capped, size: size)
      return cut(item.grid, slots: 1, count: 1) { _ in picture }
    case .clip(let name, let indices, let size):
      let clip = try Clip(name, reader)
      return try cutFrames(item.grid, indices) { (index) throws(Fault) in
        try clip.frame(index).smoothlyResized(to: size)
      }
    case .list(let names, let each, let size):
      let sampling = FrameSampling(list: names.count, factor: settings.frameFactor)
      return try cutFrames(item.grid, sampling.indices) { (index) throws(Fault) in
        // A path may show alpha; it is put on white there, as the reference does.
        let name = names[min(index, names.count - 1)]
        let frame = try encoded(name, usesRoot: false).decoded(onWhite: true).picture
        return try frame.resized(to: each).smoothlyResized(to: size)
      }
    }
  }

  func picture(
    _ name: MediumName, capped: PictureSize?, size: PictureSize
  ) throws(Fault) -> RGBPicture {
    var picture = try encoded(name).decoded().picture
    if let capped { picture = try picture.resized(to: capped, filter: CMEDIA_BILINEAR) }
    return try picture.resized(to: size)
  }

  /// Frames in pairs; the last one fills up a group that is not whole.
  private func cutFrames(
    _ grid: MediaGrid, _ indices: [Int], _ frame: (Int) throws(Fault) -> RGBPicture
  ) throws(Fault) -> MediaPatches {
    let slots = settings.temporalPatch
    var failure: Fault?
    let patches = cut(grid, slots: slots, count: grid.t * slots) { place in
      do throws(Fault) { return try frame(indices[min(place, indices.count - 1)]) } catch {
        failure = error
        return nil
      }
    }
    if let failure { throw failure }
    return patches
  }

  /// Writes frames into patches; stops when `frame` gives none.
  private func cut(
    _ grid: MediaGrid, slots: Int, count: Int, _ frame: (Int) -> RGBPicture?
  ) -> MediaPatches {
    let plane = grid.h * grid.w * 3 * slots * settings.patch * settings.patch
    let bytes = [UInt8](unsafeUninitializedCapacity: plane * grid.t) { buffer, used in
      guard let base = buffer.baseAddress else { return }
      for place in 0..<count {
        guard let picture = frame(place) else { return }
        cmedia_patches(
          picture.bytes, Int64(picture.size.height), Int64(picture.size.width),
          Int64(settings.patch), Int64(settings.merge), Int64(place % slots), Int64(slots),
          base + place / slots * plane)
      }
      used = plane * grid.t
    }
    return MediaPatches(bytes: bytes, slots: slots)
  }
}

/// What reads the media of encoded rows.
public protocol MediaLoading: Sendable {
  /// The files that a row depends on.
  func files(of row: StandardRow) -> [String]
  /// Where a path of a row leads.
  func place(of path: String) -> String
  /// Reads all media of a row without keeping anything.
  /// - Returns: warnings.
  /// - Throws: `DATA-401` to `DATA-405`, all of which let the row be left out.
  func check(_ row: EncodedRow) throws(Fault) -> [String]
  /// The row with its patches.
  /// - Throws: as `check`.
  func load(_ row: EncodedRow) throws(Fault) -> EncodedRow
}
