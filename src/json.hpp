#pragma once
// Strict JSON: the same for metadata and every document.

#include <cstdint>

#include <nlohmann/json.hpp>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// What is refused beyond RFC 8259.
struct JsonRules {
    std::uint64_t max_bytes = 0;
    std::uint32_t max_depth = 0;  ///< the outermost object is depth 1
};

/// Parses one JSON object that fills `text`: UTF-8, no BOM, no NUL, no trailing content, no
/// duplicate keys, no number that a double cannot hold. Key order is kept. Findings `bad_json`,
/// `duplicate_key`, `limit_exceeded`, each with the byte offset in `text` where known and a JSON
/// pointer. Never throws; memory bounded by `max_bytes`. O(bytes).
[[nodiscard]] Result<nlohmann::ordered_json> parse_json(std::string_view text,
                                                        const JsonRules& rules);

/// The JSON pointer of member `key` of the object at `parent`. A pointer that would be longer than
/// 1,024 bytes stays that of the parent.
[[nodiscard]] std::string json_pointer(std::string_view parent, std::string_view key);

}  // namespace trlm::adapt
