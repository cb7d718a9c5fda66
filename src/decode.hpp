#pragma once
// Stored values as f32.  docs/formats.md, section 4

#include <cstdint>
#include <span>

#include "trlm/adapt/tensor.hpp"

namespace trlm::adapt {

/// Values `first` .. of a stored tensor, decoded; `first` and the size of `out` are multiples of
/// its block size, and both lie inside the tensor. O(out).
void decode_values(const TensorView& view, std::uint64_t first, std::span<float> out);

}  // namespace trlm::adapt
