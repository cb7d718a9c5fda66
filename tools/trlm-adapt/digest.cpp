#include "trlm/adapt/digest.hpp"

#include <fmt/format.h>

#include "commands.hpp"
#include "inputs.hpp"
#include "progress.hpp"
#include "trlm/adapt/file.hpp"

namespace trlm::adapt::cli {
namespace {

struct DigestedFile {
    std::string path;
    std::uint64_t bytes = 0;
    Digest digest;
};

Json digests_json(const std::vector<DigestedFile>& files) {
    Json list = Json::array();
    for (const DigestedFile& file : files) {
        list.push_back(
            {{"file", file.path}, {"digest", to_string(file.digest)}, {"bytes", file.bytes}});
    }
    return {{"files", std::move(list)}};
}

/// One line each, in the manner of sha256sum: the digest first, for it has always the same width.
std::string digests_text(const std::vector<DigestedFile>& files) {
    std::string text;
    for (const DigestedFile& file : files) {
        text +=
            fmt::format("{}  {}  {}\n", to_string(file.digest), file.bytes, printable(file.path));
    }
    return text;
}

}  // namespace

Outcome run_digest(const DigestOptions& options) {
    Findings findings;
    std::vector<DigestedFile> files;
    for (const std::string& path : options.files) {
        const Result<MappedFile> file = open_input(path);
        if (!succeeded(file, findings)) continue;
        ProgressBar bar("hashing", options.progress);
        const Digest digest = digest_of(*file, [&](std::uint64_t done, std::uint64_t total) {
            return bar.update(done, total);
        });
        files.push_back({path, file->bytes().size(), digest});
    }
    Json result = files.empty() ? Json(nullptr) : digests_json(files);
    return {.findings = std::move(findings),
            .result = std::move(result),
            .text = [files](const Style&) { return digests_text(files); }};
}

}  // namespace trlm::adapt::cli
