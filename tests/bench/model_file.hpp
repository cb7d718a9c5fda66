#pragma once
// Model files full of random weights, written row by row.

#include <cstdint>
#include <optional>
#include <string>

#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt::bench {

/// The smallest network that `shape_of_size` knows, in bytes of an f32 file (roughly).
inline constexpr std::uint64_t smallest_model = 512 * 1024;

/// A network with `hidden` (a multiple of 64) columns; `ffn` is 8/3 of that, to a multiple of 64.
[[nodiscard]] ModelShape shape_of(std::uint32_t hidden, std::uint32_t layers);

/// The network whose file is as large as possible, yet not larger than `bytes`; nothing when even
/// the smallest is.
[[nodiscard]] std::optional<ModelShape> shape_of_size(std::uint64_t bytes, Dtype dtype);

/// Writes a model of that shape with random weights, replacing `path`. Memory is bounded by a row
/// and the scales of a tensor.
[[nodiscard]] Status write_random_model(const std::string& path, const ModelShape& shape,
                                        Dtype dtype, std::uint64_t seed);

}  // namespace trlm::adapt::bench
