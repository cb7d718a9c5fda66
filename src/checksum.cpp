#include "trlm/adapt/checksum.hpp"

#if defined(TRLM_ADAPT_XXHASH_DISPATCH)
#include <xxh_x86dispatch.h>  // gives the same functions the best instructions of the machine
#else
#include <xxhash.h>
#endif

#include "guard.hpp"
#include "hex.hpp"

namespace trlm::adapt {
namespace {

constexpr std::string_view checksum_prefix = "xxh3-64:";

std::array<std::byte, 16> canonical_bytes(XXH128_hash_t hash) noexcept {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    std::array<std::byte, 16> result{};
    static_assert(sizeof(canonical.digest) == sizeof(result));
    std::memcpy(result.data(), canonical.digest, sizeof(result));
    return result;
}

/// A state of XXH3. The library allocates its own: its size is not part of the stable interface.
class OwnedState {
public:
    OwnedState() : xxh3_(XXH3_createState()) {
        if (xxh3_ == nullptr) throw_out_of_memory();
    }
    OwnedState(const OwnedState&) = delete;
    OwnedState& operator=(const OwnedState&) = delete;
    ~OwnedState() { XXH3_freeState(xxh3_); }

    [[nodiscard]] XXH3_state_t* get() const noexcept { return xxh3_; }

private:
    XXH3_state_t* xxh3_;
};

}  // namespace

std::uint64_t xxh3_64(Bytes bytes) noexcept {
    return XXH3_64bits(bytes.data(), bytes.size());
}

std::array<std::byte, 16> xxh3_128(Bytes bytes) noexcept {
    return canonical_bytes(XXH3_128bits(bytes.data(), bytes.size()));
}

std::uint64_t checksum_of(Bytes bytes) noexcept {
    return stored_checksum(xxh3_64(bytes));
}

struct Xxh3::State {
    State() { XXH3_64bits_reset(xxh3.get()); }
    OwnedState xxh3;
};

Xxh3::Xxh3() : state_(std::make_unique<State>()) {}
Xxh3::Xxh3(Xxh3&&) noexcept = default;
Xxh3& Xxh3::operator=(Xxh3&&) noexcept = default;
Xxh3::~Xxh3() = default;

void Xxh3::update(Bytes bytes) noexcept {
    // Before version 0.8.2 a null pointer is an error even for no bytes.
    if (!bytes.empty()) XXH3_64bits_update(state_->xxh3.get(), bytes.data(), bytes.size());
}

std::uint64_t Xxh3::hash() const noexcept {
    return XXH3_64bits_digest(state_->xxh3.get());
}

struct Xxh3Wide::State {
    State() { XXH3_128bits_reset(xxh3.get()); }
    OwnedState xxh3;
};

Xxh3Wide::Xxh3Wide() : state_(std::make_unique<State>()) {}
Xxh3Wide::Xxh3Wide(Xxh3Wide&&) noexcept = default;
Xxh3Wide& Xxh3Wide::operator=(Xxh3Wide&&) noexcept = default;
Xxh3Wide::~Xxh3Wide() = default;

void Xxh3Wide::update(Bytes bytes) noexcept {
    if (!bytes.empty()) XXH3_128bits_update(state_->xxh3.get(), bytes.data(), bytes.size());
}

std::array<std::byte, 16> Xxh3Wide::hash() const noexcept {
    return canonical_bytes(XXH3_128bits_digest(state_->xxh3.get()));
}

std::string format_checksum(std::uint64_t checksum) {
    std::array<std::byte, 8> big_endian{};
    for (std::size_t i = 0; i < big_endian.size(); ++i) {
        big_endian[i] = static_cast<std::byte>(checksum >> (56 - 8 * i) & 0xff);
    }
    return std::string(checksum_prefix) + to_hex(big_endian);
}

std::optional<std::uint64_t> parse_checksum(std::string_view text) noexcept {
    if (!text.starts_with(checksum_prefix)) return std::nullopt;
    std::array<std::byte, 8> big_endian{};
    if (!from_hex(text.substr(checksum_prefix.size()), big_endian)) return std::nullopt;
    std::uint64_t checksum = 0;
    for (const std::byte byte : big_endian) {
        checksum = checksum << 8 | std::to_integer<std::uint64_t>(byte);
    }
    return checksum;
}

std::string to_hex(Bytes bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(2 * bytes.size());
    for (const std::byte byte : bytes) {
        text += digits[std::to_integer<std::size_t>(byte >> 4)];
        text += digits[std::to_integer<std::size_t>(byte & std::byte{0xf})];
    }
    return text;
}

}  // namespace trlm::adapt
