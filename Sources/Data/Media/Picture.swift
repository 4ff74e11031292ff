import CMedia
import Support

/// A picture in memory: 8-bit RGB [height, width, 3].
struct RGBPicture: Sendable, Equatable {
  let size: PictureSize
  let bytes: [UInt8]

  /// Pillow's way of resizing, and its order of the passes: down first where that saves more.
  func resized(to target: PictureSize, filter: cmedia_filter = CMEDIA_BICUBIC) throws(Fault)
    -> RGBPicture
  {
    guard target != size else { return self }
    let shorter = size.height - target.height
    let downFirst = shorter > 0 && shorter > 2 * (size.width - target.width)
    return try filled(target) { pixels in
      cmedia_resize(
        bytes, Int64(size.height), Int64(size.width), pixels, Int64(target.height),
        Int64(target.width), filter, downFirst ? 1 : 0)
    }
  }

  /// The way frames of clips are resized: in floats, rounded once.
  func smoothlyResized(to target: PictureSize) throws(Fault) -> RGBPicture {
    guard target != size else { return self }
    return try filled(target) { pixels in
      cmedia_resize_float(
        bytes, Int64(size.height), Int64(size.width), pixels, Int64(target.height),
        Int64(target.width))
    }
  }

  private func filled(
    _ target: PictureSize, _ work: (UnsafeMutablePointer<UInt8>?) -> cmedia_status
  ) throws(Fault) -> RGBPicture {
    var status = CMEDIA_OK
    let result = [UInt8](unsafeUninitializedCapacity: target.pixels * 3) { buffer, count in
      status = work(buffer.baseAddress)
      count = target.pixels * 3
    }
    guard status == CMEDIA_OK else {
      throw Fault(.mediaTooLarge, "there is no memory to resize a picture")
    }
    return RGBPicture(size: target, bytes: result)
  }
}

/// A picture file whose header was read and checked; nothing is decoded yet.
struct EncodedPicture: Sendable {
  let name: MediumName
  let bytes: [UInt8]
  private let header: cmedia_picture

  var size: PictureSize { PictureSize(height: Int(header.height), width: Int(header.width)) }

  /// - Throws: `DATA-402` for what is no picture, `DATA-403` over a limit.
  init(_ bytes: [UInt8], _ name: MediumName, limits: MediaLimits) throws(Fault) {
    var header = cmedia_picture()
    var note = cmedia_note()
    let status = cmedia_picture_header(bytes, bytes.count, &header, &note)
    guard status == CMEDIA_OK else { throw name.fault(status, note, .picture) }
    let (pixels, overflow) = header.width.multipliedReportingOverflow(by: header.height)
    guard !overflow, pixels <= Int64(limits.picturePixels) else {
      throw name.bad(
        "the picture claims \(header.width)×\(header.height) pixels, over the limit of "
          + "\(limits.picturePixels)", fix: "scale it down", code: .mediaTooLarge)
    }
    self.header = header
    self.name = name
    self.bytes = bytes
  }

  /// The picture as RGB: not turned, alpha dropped (or put on white), inks and greys converted as
  /// Pillow does.
  /// - Returns: with `isClipped` if 16-bit greys over 255 became white.
  /// - Throws: `DATA-402` if the data are damaged or cut short.
  func decoded(onWhite: Bool = false) throws(Fault) -> (picture: RGBPicture, isClipped: Bool) {
    var header = header
    var note = cmedia_note()
    var clipped: Int32 = 0
    var status = CMEDIA_OK
    let count = size.pixels * 3
    let rgb = [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
      status = cmedia_picture_rgb(
        bytes, bytes.count, &header, onWhite ? 1 : 0, buffer.baseAddress, &clipped, &note)
      used = status == CMEDIA_OK ? count : 0
    }
    guard status == CMEDIA_OK else { throw name.fault(status, note, .picture) }
    return (RGBPicture(size: size, bytes: rgb), clipped != 0)
  }
}
