import CMedia
import Support

extension FaultCode {
  /// All belong to a row, which may be left out.
  public static let mediaNotFound = FaultCode(
    "DATA-401", .badData, "a picture or clip is not where a row says")
  public static let badMedia = FaultCode("DATA-402", .badData, "a picture or clip cannot be read")
  public static let mediaTooLarge = FaultCode(
    "DATA-403", .badData, "a picture or clip is over a limit")
  public static let badMediaSetting = FaultCode(
    "DATA-404", .usage, "a setting of pictures or clips cannot be used")
  public static let badDownload = FaultCode(
    "DATA-405", .badData, "a picture or clip cannot be downloaded")
}

/// What a medium is, in messages.
enum MediumKind: String, Sendable, Equatable {
  case picture
  case clip
}

/// A medium with its place in the row, for messages: `images[0]: media/a.jpg`.
struct MediumName: Sendable, Hashable {
  let field: String
  let source: MediaSource

  var text: String { field.isEmpty ? source.name : "\(field): \(source.name)" }

  func bad(_ what: String, fix: String? = nil, code: FaultCode = .badMedia) -> Fault {
    Fault(code, "\(text): \(what)", fix: fix)
  }
}

extension cmedia_note {
  /// The library's own words.
  var words: String {
    withUnsafeBytes(of: text) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }
}

extension MediumName {
  /// What a status of the decoders means to the user.
  func fault(_ status: cmedia_status, _ note: cmedia_note, _ kind: MediumKind) -> Fault {
    let words = note.words.isEmpty ? "" : " (\(note.words))"
    let what = kind.rawValue
    switch status {
    case CMEDIA_UNKNOWN:
      return kind == .picture
        ? bad("not a picture", fix: "give a JPEG, PNG, WebP or GIF file")
        : bad("not a clip", fix: "give an mp4, mkv, webm, avi or other file that holds its media")
    case CMEDIA_TRUNCATED:
      return bad("the \(what) is cut short\(words)", fix: "copy the file again")
    case CMEDIA_DAMAGED:
      return bad("the \(what) is damaged\(words)", fix: "copy the file again")
    case CMEDIA_UNSUPPORTED:
      return bad("the \(what) is of a kind that is not read\(words)", fix: "convert it")
    case CMEDIA_NO_PICTURES:
      return bad("the clip has no picture stream", fix: "give a clip with pictures")
    case CMEDIA_TOO_LARGE:
      return bad(
        "the \(what) has too many \(note.words)", fix: "make it smaller", code: .mediaTooLarge)
    case CMEDIA_NO_MEMORY:
      return bad("there is no memory for the \(what)", code: .mediaTooLarge)
    default:
      return bad("the \(what) cannot be opened\(words)", fix: "check the file")
    }
  }
}
