// A whole bundle in one input: verifying it twice gives the same report, and nothing is opened that
// the gates before did not lead to.

#include <algorithm>
#include <map>

#include "support.hpp"
#include "trlm/adapt/chain.hpp"
#include "trlm/adapt/digest.hpp"

using namespace trlm::adapt;
using fuzz::require;

namespace {

/// A file of a bundle in its place in the input.
struct PackedFile {
    std::string_view path;
    Bytes content;
};

/// Files one behind the other: a byte with the length of the path, the path, four bytes with the
/// length of the content, the content.
std::vector<PackedFile> unpack(Bytes input) {
    std::vector<PackedFile> files;
    std::uint64_t at = 0;
    while (at < input.size() && files.size() < 64) {
        const std::uint64_t name_length = load<std::uint8_t>(input, at);
        const Bytes name = slice(input, at + 1, name_length);
        const std::uint64_t length = load<std::uint32_t>(input, at + 1 + name_length);
        at += 5 + name_length;
        const std::uint64_t there = at < input.size() ? input.size() - at : 0;
        const Bytes content = slice(input, at, std::min(length, there));
        files.push_back({as_text(name), content});
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

/// Replaces every occurrence of `old_text` by `new_text`, which has the same size.
bool replace_all(MutableBytes in, std::string_view old_text, std::string_view new_text) {
    bool replaced = false;
    const std::string_view text = as_text(in);
    for (std::size_t at = text.find(old_text); at != text.npos; at = text.find(old_text, at + 1)) {
        std::ranges::copy(std::as_bytes(std::span(new_text)),
                          in.begin() + static_cast<std::ptrdiff_t>(at));
        replaced = true;
    }
    return replaced;
}

/// Writes the new digest of every file that changed wherever its old one stands, until none that
/// changed is left: the documents of a bundle name one another in no circle.
void seal_bundle(MutableBytes input, std::vector<Digest> digests) {
    const std::vector<PackedFile> files = unpack(input);
    bool changed = files.size() == digests.size();
    for (int depth = 0; changed && depth < 16; ++depth) {
        changed = false;
        for (std::size_t i = 0; i < files.size(); ++i) {
            const Digest digest = sha256(files[i].content);
            if (digest == digests[i]) continue;
            changed |= replace_all(input, to_string(digests[i]), to_string(digest));
            digests[i] = digest;
        }
    }
}

/// Where a file lies in the input, to be changed there.
MutableBytes place_of(const PackedFile& file, std::uint8_t* data) {
    if (file.content.empty()) return {};
    const auto offset = reinterpret_cast<const std::uint8_t*>(file.content.data()) - data;
    return {reinterpret_cast<std::byte*>(data + offset), file.content.size()};
}

/// Changes a file without changing its size: bytes, a field, or a digit; its own checksum is put
/// right.
void change(MutableBytes content, fuzz::Random& random) {
    auto* const bytes = reinterpret_cast<std::uint8_t*>(content.data());
    if (content.empty()) return;
    const std::string_view magic = as_text(slice(content, 0, 4));
    const bool package = magic == "ADP1" || magic == "ASP1" || magic == "ALR1";
    if (package || magic == "SLM1") {
        fuzz::set_a_field(bytes, content.size(), random);
        package ? fuzz::seal_package(content) : fuzz::seal_at(content, 100);
        return;
    }
    static constexpr std::string_view characters = "0123456789-.eE\"{}[]:, /abnutrfls\\";
    for (std::uint64_t changes = 1 + random.below(2); changes > 0; --changes) {
        const std::size_t at = random.below(content.size());
        bytes[at] = random.below(4) == 0
                        ? static_cast<std::uint8_t>(random.next())
                        : static_cast<std::uint8_t>(characters[random.below(characters.size())]);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::map<std::string, Bytes> files;
    for (const PackedFile& file : unpack(fuzz::bytes_of(data, size)))
        files[std::string(file.path)] = file.content;
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

/// Changes one file and writes its new digest into the documents that name it, so that the gates
/// behind the digests are reached; now and then anything.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
    fuzz::Random random(seed);
    if (random.below(8) == 0) return LLVMFuzzerMutate(data, size, most);
    const std::vector<PackedFile> files = unpack(fuzz::bytes_of(data, size));
    if (files.empty()) return LLVMFuzzerMutate(data, size, most);
    std::vector<Digest> digests;
    for (const PackedFile& file : files)
        digests.push_back(sha256(file.content));
    change(place_of(files[random.below(files.size())], data), random);
    if (random.below(8) != 0) {
        seal_bundle(MutableBytes(reinterpret_cast<std::byte*>(data), size), std::move(digests));
    }
    return size;
}
