#pragma once
// JSON files of other programs.

#include <cstdint>
#include <string>

#include "json.hpp"
#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// Lengths up to which such files are read.
inline constexpr std::uint64_t configuration_bytes = std::uint64_t{1} << 20;
inline constexpr std::uint64_t index_bytes = std::uint64_t{16} << 20;
inline constexpr std::uint64_t tokenizer_bytes = std::uint64_t{64} << 20;

/// The strictly read object of a file. Findings name the file: those of `parse_json`,
/// `file_missing`, `file_unreadable`.
[[nodiscard]] Result<Json> read_document(const std::string& path, std::uint64_t max_bytes);

/// Where the files of a source lie.
struct SourcePath {
    std::string folder;
    std::string file = {};  ///< the one that was named; empty when it was the folder
};

/// A folder, or a file in one.
[[nodiscard]] SourcePath source_path(const std::string& path);

/// `folder` and `name` as one path.
[[nodiscard]] std::string path_in(const std::string& folder, const std::string& name);

/// Whether there is a file of that name.
[[nodiscard]] bool file_exists(const std::string& path) noexcept;

}  // namespace trlm::adapt
