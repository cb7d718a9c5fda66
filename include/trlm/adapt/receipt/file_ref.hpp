#pragma once
// How a document names a file, and how documents are read.  docs/receipts.md

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// An XXH3-128 in its canonical form, which detects accidents only.
struct WeakDigest {
    std::array<std::byte, 16> bytes{};  ///< in the order in which hex digits are written
    friend bool operator==(const WeakDigest&, const WeakDigest&) = default;
};

/// What a document says of a file's content: its SHA-256, or the weak XXH3-128.
using ContentDigest = std::variant<Digest, WeakDigest>;

/// True for a digest that only detects accidents.
[[nodiscard]] inline bool is_weak(const ContentDigest& digest) noexcept {
    return std::holds_alternative<WeakDigest>(digest);
}

/// "sha256:" and 64 lower-case hex digits, or "xxh3-128:" and 32.
[[nodiscard]] std::string to_string(const ContentDigest& digest);

/// The inverse of `to_string`; nothing for any other text.
[[nodiscard]] std::optional<ContentDigest> parse_content_digest(std::string_view text) noexcept;

/// The digest of `bytes` of the kind that `like` is. O(n).
[[nodiscard]] ContentDigest digest_like(const ContentDigest& like, Bytes bytes);

/// A file that a document names: where, how large, and what is in it.
struct FileRef {
    std::string path;         ///< relative to the document's folder, `/`-separated
    std::uint64_t bytes = 0;  ///< size of the file
    ContentDigest digest;     ///< of the whole file
    friend bool operator==(const FileRef&, const FileRef&) = default;
};

/// Is `content` what `file` names? `size_mismatch`, else `digest_mismatch`, neither with a file.
/// O(bytes).
[[nodiscard]] Findings check_file(const FileRef& file, Bytes content);

/// True when `path` is one that a document may hold: 1 to 255 characters, `/`-separated segments
/// of `[A-Za-z0-9._-]{1,100}`, none of them one dot or two. O(n).
[[nodiscard]] bool is_document_path(std::string_view path) noexcept;

/// `path` as seen from the root, where the document that names it lies at `document`.
[[nodiscard]] std::string resolve_path(std::string_view document, std::string_view path);

/// `path` with A-Z in lower case: two paths of equal folding are one file on some systems.
[[nodiscard]] std::string folded_path(std::string_view path);

/// How a document is read.
struct DocumentOptions {
    std::uint64_t max_bytes = limits::json_bytes;  ///< `limit_exceeded` past it
    bool allow_weak_digests = false;               ///< `weak_digest` becomes a warning
    Findings* warnings = nullptr;                  ///< gets what an option allowed
};

}  // namespace trlm::adapt
#pragma GCC visibility pop
