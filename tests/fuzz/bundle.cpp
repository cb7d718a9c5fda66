// A whole bundle in one input: verifying it twice gives the same report, and nothing is opened that
// the gates before did not lead to.

#include <map>

#include "support.hpp"
#include "trlm/adapt/chain.hpp"

using namespace trlm::adapt;
using fuzz::require;

namespace {

/// Files one behind the other: a byte with the length of the path, the path, four bytes with the
/// length of the content, the content.
std::map<std::string, Bytes> unpack(Bytes input) {
    std::map<std::string, Bytes> files;
    std::uint64_t at = 0;
    while (at < input.size() && files.size() < 64) {
        const std::uint64_t name_length = load<std::uint8_t>(input, at);
        const Bytes name = slice(input, at + 1, name_length);
        const std::uint64_t length = load<std::uint32_t>(input, at + 1 + name_length);
        at += 5 + name_length;
        const std::uint64_t there = at < input.size() ? input.size() - at : 0;
        const Bytes content = slice(input, at, std::min(length, there));
        files[std::string(as_text(name))] = content;
        at += content.size();
    }
    return files;
}

struct Verification {
    ChainReport report;
    std::vector<std::string> opened;
};

Verification verification_of(const std::map<std::string, Bytes>& files) {
    Source source = Source::memory(files);
    ChainReport report = verify(source);
    return {std::move(report), source.opened()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::map<std::string, Bytes> files = unpack(fuzz::bytes_of(data, size));
    const Verification first = verification_of(files);
    const Verification second = verification_of(files);
    require(first.opened == second.opened, "verifying twice opens the same files");
    require(first.report.findings.size() == second.report.findings.size(),
            "verifying twice finds the same");
    for (std::size_t i = 0; i < first.report.findings.size(); ++i) {
        require(first.report.findings[i].code == second.report.findings[i].code &&
                    first.report.findings[i].message == second.report.findings[i].message,
                "verifying twice finds the same");
    }
    for (const std::string& path : first.opened)
        require(files.contains(path), "only what is there is opened");
    return 0;
}
