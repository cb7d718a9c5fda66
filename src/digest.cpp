#include "trlm/adapt/digest.hpp"

#include "hex.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

constexpr std::string_view digest_prefix = "sha256:";

}  // namespace

Digest sha256(Bytes bytes) {
    Sha256 hasher;
    hasher.update(bytes);
    return hasher.finish();
}

std::string to_string(const Digest& digest) {
    return std::string(digest_prefix) + to_hex(digest.bytes);
}

std::optional<Digest> parse_digest(std::string_view text) noexcept {
    if (!text.starts_with(digest_prefix)) return std::nullopt;
    Digest digest;
    if (!from_hex(text.substr(digest_prefix.size()), digest.bytes)) return std::nullopt;
    return digest;
}

}  // namespace trlm::adapt
