#pragma once
// SHA-256 (FIPS 180-4) in plain C++, for targets without OpenSSL.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "trlm/adapt/digest.hpp"

namespace trlm::adapt {

/// SHA-256 of bytes that arrive in pieces; at most 2^61 - 1 of them.
class PlainSha256 {
public:
    /// Takes the next bytes; O(n).
    void update(Bytes bytes) noexcept {
        length_ += bytes.size();
        if (waiting_ > 0) {
            bytes = bytes.subspan(fill(bytes));
            if (waiting_ < block_bytes) return;
            compress(block_.data());
            waiting_ = 0;
        }
        for (; bytes.size() >= block_bytes; bytes = bytes.subspan(block_bytes))
            compress(bytes.data());
        fill(bytes);
    }

    /// The digest of all bytes; the object must not be used afterwards.
    [[nodiscard]] Digest finish() noexcept {
        const std::uint64_t bits = length_ * 8;
        // A one, zeros up to the last eight bytes of a block, and there the length.
        std::array<std::byte, block_bytes> padding{std::byte{0x80}};
        constexpr std::size_t length_bytes = 8;
        const std::size_t room = block_bytes - length_bytes;
        update(Bytes(padding).first((waiting_ < room ? room : room + block_bytes) - waiting_));
        std::array<std::byte, length_bytes> length{};
        for (std::size_t i = 0; i < length_bytes; ++i)
            length[i] = static_cast<std::byte>(bits >> (8 * (length_bytes - 1 - i)));
        update(length);
        Digest digest;
        for (std::size_t i = 0; i < digest.bytes.size(); ++i)
            digest.bytes[i] = static_cast<std::byte>(state_[i / 4] >> (8 * (3 - i % 4)));
        return digest;
    }

private:
    static constexpr std::size_t block_bytes = 64;
    static constexpr std::size_t rounds = 64;

    // The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
    static constexpr std::array<std::uint32_t, rounds> constants = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2};

    /// Moves as much of `bytes` as there is room for behind what waits for a whole block.
    std::size_t fill(Bytes bytes) noexcept {
        const std::size_t count = std::min(bytes.size(), block_bytes - waiting_);
        std::copy_n(bytes.begin(), count, block_.begin() + static_cast<std::ptrdiff_t>(waiting_));
        waiting_ += count;
        return count;
    }

    void compress(const std::byte* block) noexcept {
        std::array<std::uint32_t, rounds> w;
        for (std::size_t i = 0; i < 16; ++i) {
            w[i] = 0;
            for (std::size_t k = 0; k < 4; ++k)
                w[i] = w[i] << 8 | std::to_integer<std::uint32_t>(block[4 * i + k]);
        }
        for (std::size_t i = 16; i < rounds; ++i) {
            const std::uint32_t s0 =
                std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
            const std::uint32_t s1 =
                std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        auto [a, b, c, d, e, f, g, h] = state_;
        for (std::size_t i = 0; i < rounds; ++i) {
            const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
            const std::uint32_t choice = (e & f) ^ (~e & g);
            const std::uint32_t t1 = h + s1 + choice + constants[i] + w[i];
            const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
            const std::uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
            h = g;
            g = f;
            f = e;
            e = d + t1;
            d = c;
            c = b;
            b = a;
            a = t1 + s0 + majority;
        }
        const std::array<std::uint32_t, 8> worked = {a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < worked.size(); ++i)
            state_[i] += worked[i];
    }

    // The first 32 bits of the fractional parts of the square roots of the first eight primes.
    std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::byte, block_bytes> block_{};  // begins with the bytes that wait
    std::size_t waiting_ = 0;
    std::uint64_t length_ = 0;
};

}  // namespace trlm::adapt
