#pragma once
// The metadata that producers give their packages.

#include <span>
#include <string>
#include <string_view>

namespace trlm::adapt {

/// JSON text with `description`, `source`, and `tensor_names` in directory order. The names are
/// left out where one is not known, or where all together take more than metadata may.
[[nodiscard]] std::string metadata_text(const std::string& description, const std::string& source,
                                        std::span<const std::string_view> names);

}  // namespace trlm::adapt
