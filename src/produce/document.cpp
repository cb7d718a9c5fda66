#include "produce/document.hpp"

#include <filesystem>
#include <system_error>

#include <sys/stat.h>

#include "json.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {

Result<Json> read_document(const std::string& path, std::uint64_t max_bytes) {
    const auto file = MappedFile::open(path, FileReading::copied);
    if (!file) return failure(file.error());
    auto document = parse_json(as_text(file->bytes()),
                               {.max_bytes = max_bytes, .max_depth = limits::json_depth});
    if (document) return document;
    Findings findings = std::move(document.error());
    findings.set_file(path);
    return failure(std::move(findings));
}

SourcePath source_path(const std::string& path) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    // What is not there is as likely a folder: what is missing in it is then said.
    if (!std::filesystem::exists(status) || std::filesystem::is_directory(status)) return {path};
    const std::size_t slash = path.rfind('/');
    return {slash == std::string::npos ? "." : path.substr(0, slash + 1), path};
}

std::string path_in(const std::string& folder, const std::string& name) {
    if (folder.empty()) return name;
    return folder.ends_with('/') ? folder + name : folder + '/' + name;
}

bool file_exists(const std::string& path) noexcept {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0;
}

}  // namespace trlm::adapt
