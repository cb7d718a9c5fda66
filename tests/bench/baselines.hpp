#pragma once
// What the library is compared with: plain loops, compiled for this very machine.

#include <cstddef>
#include <cstdint>
#include <span>

#include "trlm/adapt/rounding.hpp"

namespace trlm::adapt::bench {

/// A sum over all bits, so that every byte is read.
[[nodiscard]] std::uint64_t read_all(std::span<const float> x);

/// The same over two buffers side by side: what any look at weights and deltas has to read.
[[nodiscard]] std::uint64_t read_both(std::span<const float> x, std::span<const float> y);

/// y += x
void add(std::span<const float> x, std::span<float> y);

/// a = b + s * c
void triad(std::span<const float> b, std::span<const float> c, float s, std::span<float> a);

/// Quantized values in the storage of docs/formats.md, section 1.
struct QuantizedSpan {
    std::span<std::byte> codes;
    std::span<float> scales;
    std::size_t group_size = 0;  ///< columns for q8_0, block size for q4_0
};

/// The obvious way to add a dense delta to quantized values: decode all of them into `w`, add the
/// delta to all of them, encode all of them. The arithmetic is that of docs/formats.md, section 4.
/// `key` is that of the tensor's random numbers. `w` has room for every value.
void three_pass_q8(const QuantizedSpan& tensor, std::span<const float> delta, float strength,
                   RoundingMode mode, std::uint64_t key, std::span<float> w);
void three_pass_q4(const QuantizedSpan& tensor, std::span<const float> delta, float strength,
                   RoundingMode mode, std::uint64_t key, std::span<float> w);

}  // namespace trlm::adapt::bench
