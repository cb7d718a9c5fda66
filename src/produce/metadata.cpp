#include "metadata.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {

std::string metadata_text(const std::string& description, const std::string& source,
                          std::span<const std::string_view> names) {
    nlohmann::ordered_json metadata;
    metadata["description"] = description;
    metadata["source"] = source;
    std::string without_names = metadata.dump();
    const bool all_known =
        std::ranges::none_of(names, [](std::string_view name) { return name.empty(); });
    if (!all_known) return without_names;
    metadata["tensor_names"] = nlohmann::ordered_json::array();
    for (const std::string_view name : names)
        metadata["tensor_names"].push_back(name);
    std::string with_names = metadata.dump();
    return with_names.size() <= limits::metadata_bytes ? with_names : without_names;
}

}  // namespace trlm::adapt
