#pragma once
// Which elements of a tensor's difference a sparse package keeps.

#include <array>
#include <cstdint>
#include <variant>

#include "kernels/element.hpp"
#include "magnitude.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/produce/difference.hpp"

namespace trlm::adapt {

/// Random dropping in one tensor. The random numbers are those of stochastic rounding under a key
/// of their own: with the same ones, rounding a package that was made with the same seed would not
/// be random any more.
class DropMask {
public:
    DropMask(const RandomDrop& drop, std::uint64_t name_hash) : drop_(drop) {
        constexpr std::string_view label = "TRLMDROP";
        std::array<std::byte, 24> bytes{};
        std::ranges::copy(as_bytes(label), bytes.begin());
        store(MutableBytes(bytes), 8, drop.seed);
        store(MutableBytes(bytes), 16, name_hash);
        key_ = xxh3_64(bytes);
    }

    [[nodiscard]] bool keeps(std::uint64_t index, float value) const noexcept {
        if (kernels::magnitude_bits(value) == 0) return false;
        return static_cast<double>(kernels::uniform(key_, index)) >= drop_.probability;
    }

    /// What is stored for a value that is kept.
    [[nodiscard]] float stored(float value) const noexcept {
        if (!drop_.rescale) return value;
        return static_cast<float>(static_cast<double>(value) / (1.0 - drop_.probability));
    }

private:
    RandomDrop drop_;
    std::uint64_t key_ = 0;
};

}  // namespace trlm::adapt
