#include "metadata.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

/// `text` as JSON. Objects and arrays are put together by hand: taking theirs apart again needs
/// memory, and ends the program where there is none.
std::string json_text(std::string_view text) {
    return nlohmann::json(text).dump();
}

}  // namespace

std::string metadata_text(const std::string& description, const std::string& source,
                          std::span<const std::string_view> names) {
    const std::string front =
        "{\"description\":" + json_text(description) + ",\"source\":" + json_text(source);
    std::string without_names = front + "}";
    const bool all_known =
        std::ranges::none_of(names, [](std::string_view name) { return name.empty(); });
    if (!all_known) return without_names;
    std::string with_names = front + ",\"tensor_names\":[";
    std::string_view separator;
    for (const std::string_view name : names) {
        with_names += separator;
        with_names += json_text(name);
        separator = ",";
    }
    with_names += "]}";
    return with_names.size() <= limits::metadata_bytes ? with_names : without_names;
}

}  // namespace trlm::adapt
