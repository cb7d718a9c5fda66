#pragma once
// A folder on disk for one test.

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <stdlib.h>

#include "support/catch.hpp"

namespace trlm::adapt {

/// A folder of its own for each test, removed with it.
class Folder {
public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "trlm-test-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }
    [[nodiscard]] const std::string& path() const { return path_; }

    /// What is in it, sorted.
    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(path_)) {
            names.push_back(entry.path().filename().string());
        }
        std::sort(names.begin(), names.end());
        return names;
    }

private:
    std::string path_;
};

}  // namespace trlm::adapt
