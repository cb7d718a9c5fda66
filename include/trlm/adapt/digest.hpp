#pragma once
// SHA-256: what binds documents and files to each other.

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "trlm/adapt/bytes.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// A SHA-256.
struct Digest {
    std::array<std::byte, 32> bytes{};  ///< in the order in which hex digits are written
    friend bool operator==(const Digest&, const Digest&) = default;
};

/// SHA-256 of bytes that arrive in pieces.
class Sha256 {
public:
    Sha256();
    /// Takes over; the other may only be destroyed or assigned to.
    Sha256(Sha256&&) noexcept;
    /// The same.
    Sha256& operator=(Sha256&&) noexcept;
    ~Sha256();

    /// Takes the next bytes; O(n).
    void update(Bytes bytes) noexcept;

    /// The digest of all bytes; the object must not be used afterwards.
    [[nodiscard]] Digest finish() noexcept;

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// SHA-256 of `bytes`. O(n).
[[nodiscard]] Digest sha256(Bytes bytes);

/// "sha256:" and 64 lower-case hex digits.
[[nodiscard]] std::string to_string(const Digest& digest);

/// The inverse of `to_string`; nothing for any other text.
[[nodiscard]] std::optional<Digest> parse_digest(std::string_view text) noexcept;

}  // namespace trlm::adapt
#pragma GCC visibility pop
