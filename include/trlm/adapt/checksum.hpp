#pragma once
// XXH3: the formats' internal checksums. They detect accidents, not attackers.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "trlm/adapt/bytes.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// XXH3-64 with seed 0, as it is. O(n), no allocation.
[[nodiscard]] std::uint64_t xxh3_64(Bytes bytes) noexcept;

/// XXH3-128 with seed 0 in its canonical big-endian form.
[[nodiscard]] std::array<std::byte, 16> xxh3_128(Bytes bytes) noexcept;

/// A stored checksum: a hash of 0 is stored and compared as 1, so 0 never appears.
[[nodiscard]] constexpr std::uint64_t stored_checksum(std::uint64_t hash) noexcept {
    return hash == 0 ? 1 : hash;
}

/// `stored_checksum(xxh3_64(bytes))`.
[[nodiscard]] std::uint64_t checksum_of(Bytes bytes) noexcept;

/// XXH3-64 of bytes that arrive in pieces.
class Xxh3 {
public:
    Xxh3();
    /// Takes over; the other may only be destroyed or assigned to.
    Xxh3(Xxh3&&) noexcept;
    /// The same.
    Xxh3& operator=(Xxh3&&) noexcept;
    ~Xxh3();

    /// Takes the next bytes; O(n).
    void update(Bytes bytes) noexcept;

    /// The hash of all bytes so far; more may follow.
    [[nodiscard]] std::uint64_t hash() const noexcept;

    /// `stored_checksum(hash())`.
    [[nodiscard]] std::uint64_t checksum() const noexcept { return stored_checksum(hash()); }

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// XXH3-128 of bytes that arrive in pieces.
class Xxh3Wide {
public:
    Xxh3Wide();
    /// Takes over; the other may only be destroyed or assigned to.
    Xxh3Wide(Xxh3Wide&&) noexcept;
    /// The same.
    Xxh3Wide& operator=(Xxh3Wide&&) noexcept;
    ~Xxh3Wide();

    /// Takes the next bytes; O(n).
    void update(Bytes bytes) noexcept;

    /// The hash of all bytes so far, as `xxh3_128`; more may follow.
    [[nodiscard]] std::array<std::byte, 16> hash() const noexcept;

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// "xxh3-64:" and 16 lower-case hex digits.
[[nodiscard]] std::string format_checksum(std::uint64_t checksum);

/// The inverse of `format_checksum`; nothing for any other text.
[[nodiscard]] std::optional<std::uint64_t> parse_checksum(std::string_view text) noexcept;

/// Lower-case hex digits of `bytes`.
[[nodiscard]] std::string to_hex(Bytes bytes);

}  // namespace trlm::adapt
#pragma GCC visibility pop
