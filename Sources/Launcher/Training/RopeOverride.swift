import Foundation
import Support

/// `--rope_scaling`: a kind (`linear`, `yarn`), whose factor follows from `--max_model_len`, or the object
/// that stands in `config.json`.
struct RopeOverride {
  let scaling: JSONObject
  /// Longest text the model shall reach.
  let maxModelLength: Int?

  /// - Returns: nil without the flag.
  init?(_ flag: TextOrJSON?, maxModelLength: Int?) {
    switch flag {
    case nil: return nil
    case .text(let kind): scaling = JSONObject([("rope_type", .string(kind))])
    case .json(let value): scaling = value.object ?? JSONObject([("rope_type", value)])
    }
    self.maxModelLength = maxModelLength
  }

  /// Puts the scaling into the keys of a text model; what the flag does not say of θ and of the axes
  /// stays.
  /// - Throws: `OPT-103` when no factor is given and none follows.
  func apply(to text: inout JSONObject, path: String) throws(Fault) {
    let key = text["rope_parameters"]?.object != nil ? "rope_parameters" : "rope_scaling"
    let old = text[key]?.object
    var new = JSONObject()
    for kept in ["rope_theta", "mrope_section", "mrope_interleaved"] {
      if let value = old?[kept] { new[kept] = value }
    }
    for (name, value) in scaling.members where name != "type" { new[name] = value }
    // Both spellings are read; one is written.
    if let kind = scaling["rope_type"] ?? scaling["type"] { new["rope_type"] = kind }
    let positions = text["max_position_embeddings"]?.int
    let trained =
      [new, old].lazy.compactMap { $0?["original_max_position_embeddings"]?.int }.first ?? positions
    if new["factor"] == nil, new["rope_type"]?.string != "default" {
      guard let reach = maxModelLength, let trained, trained > 0 else {
        throw Fault(
          .optionsDisagree, "no factor is given and none follows", at: .flag("rope_scaling"),
          expected: #"{"rope_type": "yarn", "factor": 4.0} or --max_model_len beside a kind"#)
      }
      new["factor"] = JSONValue(Double(max(1, (reach + trained - 1) / trained)))
    }
    if let trained, new["original_max_position_embeddings"] == nil,
      new["rope_type"]?.string == "yarn"
    {
      new["original_max_position_embeddings"] = JSONValue(trained)
    }
    text[key] = .object(new)
    if let reach = maxModelLength, reach > positions ?? 0 {
      text["max_position_embeddings"] = JSONValue(reach)
    }
  }
}
