import CMedia
import Support

/// An open clip. One thread uses it.
final class Clip {
  let name: MediumName
  /// Number of frames, frames per second, and size after the turn that the container asks for.
  let frames: Int
  let rate: Double
  let size: PictureSize

  private let handle: OpaquePointer
  /// The bytes of a clip that is not a file; the decoder reads from them.
  private let bytes: UnsafeMutableBufferPointer<UInt8>?

  /// Opens a clip and counts its frames, without decoding one.
  /// - Throws: `DATA-401` to `DATA-403`, `DATA-405`.
  init(_ name: MediumName, _ reader: MediaReader) throws(Fault) {
    let limits = reader.settings.limits
    var memory: UnsafeMutableBufferPointer<UInt8>?
    var path: String?
    if case .file(let given) = name.source {
      let found = try reader.path(given, name)
      guard Folder.fileSize(found) ?? 0 > 0 else {
        throw name.bad("the file is empty", fix: "copy the file again")
      }
      path = found
    } else {
      let list = try reader.bytes(name, limit: limits.clipBytes)
      let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: list.count)
      _ = buffer.initialize(from: list)
      memory = buffer
    }
    let bounds = cmedia_clip_limits(
      pixels: Int64(limits.framePixels), frames: Int64(limits.frames),
      total: Int64(limits.clipPixels))
    var info = cmedia_clip_info()
    var note = cmedia_note()
    var handle: OpaquePointer?
    let status = cmedia_clip_open(
      path, memory?.baseAddress, memory?.count ?? 0, bounds, &handle, &info, &note)
    guard status == CMEDIA_OK, let handle else {
      memory?.deallocate()
      throw name.fault(status, note, .clip)
    }
    self.name = name
    self.handle = handle
    bytes = memory
    frames = Int(info.frames)
    rate = info.rate
    size = PictureSize(height: Int(info.height), width: Int(info.width))
  }

  deinit {
    cmedia_clip_close(handle)
    bytes?.deallocate()
  }

  /// Decodes one frame; indices of later calls may not be smaller.
  /// - Throws: `DATA-402` if the clip is damaged before it.
  func frame(_ index: Int) throws(Fault) -> RGBPicture {
    var note = cmedia_note()
    var status = CMEDIA_OK
    let count = size.pixels * 3
    let rgb = [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
      status = cmedia_clip_frame(handle, Int64(index), buffer.baseAddress, &note)
      used = status == CMEDIA_OK ? count : 0
    }
    guard status == CMEDIA_OK else { throw name.fault(status, note, .clip) }
    return RGBPicture(size: size, bytes: rgb)
  }
}
