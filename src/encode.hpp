#pragma once
// Encoders for whole new values: what a model quantized by this project holds.

#include <cstddef>

namespace trlm::adapt {

/// Encodes a row of `cols` finite values, rounding to nearest. The caller compares `scale` with
/// `scale_bound`.
void encode_q8_row(const float* w, std::size_t cols, std::byte* codes, float& scale);

/// Encodes a block of `block_size` (even) finite values, rounding to nearest.
void encode_q4_block(const float* w, std::size_t block_size, std::byte* codes, float& scale);

}  // namespace trlm::adapt
