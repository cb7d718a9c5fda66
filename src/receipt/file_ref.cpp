#include "trlm/adapt/receipt/file_ref.hpp"

#include <algorithm>

#include "../hex.hpp"
#include "file_findings.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

constexpr std::string_view weak_prefix = "xxh3-128:";
constexpr std::size_t longest_segment = 100;
constexpr std::size_t longest_path = 255;

bool is_segment_character(char c) noexcept {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool is_segment(std::string_view text) noexcept {
    return !text.empty() && text.size() <= longest_segment && text != "." && text != ".." &&
           std::all_of(text.begin(), text.end(), is_segment_character);
}

}  // namespace

std::string to_string(const ContentDigest& digest) {
    if (const auto* strong = std::get_if<Digest>(&digest)) return to_string(*strong);
    return std::string(weak_prefix) + to_hex(std::get<WeakDigest>(digest).bytes);
}

std::optional<ContentDigest> parse_content_digest(std::string_view text) noexcept {
    if (const auto strong = parse_digest(text)) return *strong;
    WeakDigest weak;
    if (!text.starts_with(weak_prefix)) return std::nullopt;
    if (!from_hex(text.substr(weak_prefix.size()), weak.bytes)) return std::nullopt;
    return weak;
}

ContentDigest digest_like(const ContentDigest& like, Bytes bytes) {
    if (is_weak(like)) return WeakDigest{xxh3_128(bytes)};
    return sha256(bytes);
}

Findings check_file(const FileRef& file, Bytes content) {
    Findings findings;
    if (content.size() != file.bytes) {
        findings.add(size_differs(file.bytes, content.size()));
        return findings;
    }
    const ContentDigest digest = digest_like(file.digest, content);
    if (digest != file.digest) findings.add(digest_differs(file.digest, digest));
    return findings;
}

bool is_document_path(std::string_view path) noexcept {
    if (path.empty() || path.size() > longest_path) return false;
    while (true) {
        const std::size_t slash = path.find('/');
        if (!is_segment(path.substr(0, slash))) return false;
        if (slash == std::string_view::npos) return true;
        path.remove_prefix(slash + 1);
    }
}

std::string resolve_path(std::string_view document, std::string_view path) {
    const std::size_t slash = document.rfind('/');
    std::string resolved(document.substr(0, slash == std::string_view::npos ? 0 : slash + 1));
    resolved += path;
    return resolved;
}

std::string folded_path(std::string_view path) {
    std::string folded(path);
    for (char& c : folded) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return folded;
}

}  // namespace trlm::adapt
