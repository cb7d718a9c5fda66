#pragma once
// Where the files of this project are.

#include <filesystem>
#include <string>

namespace trlm::adapt {

/// `name` from the project's top folder. The build says where that is: `__FILE__` may have been
/// shortened by whoever packages this.
inline std::string project_file(const std::string& name) {
    return (std::filesystem::path(TRLM_ADAPT_SOURCE_FOLDER) / name).string();
}

}  // namespace trlm::adapt
