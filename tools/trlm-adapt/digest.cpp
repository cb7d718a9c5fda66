#include "trlm/adapt/digest.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "commands.hpp"
#include "progress.hpp"
#include "trlm/adapt/file.hpp"

namespace trlm::adapt::cli {
namespace {

struct DigestedFile {
    std::string path;
    std::uint64_t bytes = 0;
    Digest digest;
};

/// Pieces small enough for a bar that moves, large enough to cost nothing.
Digest digest_of(Bytes bytes, ProgressBar& bar) {
    constexpr std::size_t piece = std::size_t{4} << 20;
    Sha256 sha;
    for (std::size_t done = 0; done < bytes.size(); done += piece) {
        bar.update(done, bytes.size());
        sha.update(bytes.subspan(done, std::min(piece, bytes.size() - done)));
    }
    return sha.finish();
}

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
        const Result<MappedFile> file = MappedFile::open(path);
        if (!succeeded(file, findings)) continue;
        ProgressBar bar("hashing", options.progress);
        files.push_back({path, file->bytes().size(), digest_of(file->bytes(), bar)});
    }
    Json result = files.empty() ? Json(nullptr) : digests_json(files);
    return {.findings = std::move(findings),
            .result = std::move(result),
            .text = [files](const Style&) { return digests_text(files); }};
}

}  // namespace trlm::adapt::cli
