#pragma once
// Small models and packages, made by the library's own writers from generated values.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt::sample {

/// 1 layer, 2 heads of 4, hidden 8, ffn 12, vocab 260 (BTOK), untied.
ModelShape small_shape();

/// The same with hidden 64 and ffn 300: some tensors take more than one tile.
ModelShape wide_shape();

/// Values of a tensor, from its name: N(0, 0.02)-like, the same on every machine.
std::vector<float> values(std::string_view name, std::uint64_t count, float size = 0.02F);

/// A model with every tensor stored as `dtype`.
std::vector<std::byte> model(Dtype dtype, const ModelShape& shape = small_shape());

/// The same as the original writer would have left it: a header of 108 bytes, whose checksum
/// nobody can verify, and everything else as in `model`.
std::vector<std::byte> foreign_model(Dtype dtype);

/// Recomputes the internal checksum of a model (at 100) or a package (at 120).
void seal(std::vector<std::byte>& file);

/// One dense delta for each of `tensors`, every element of size about `size`.
std::vector<std::byte> dense_package(const std::vector<std::string>& tensors, float size = 0.002F,
                                     const ModelShape& shape = small_shape());

/// One sparse delta: every `stride`-th element of the tensor.
std::vector<std::byte> sparse_package(const std::string& tensor, std::uint32_t stride,
                                      float size = 0.002F, const ModelShape& shape = small_shape());

/// One low-rank delta of rank 2.
std::vector<std::byte> low_rank_package(const std::string& tensor, float scale = 0.1F,
                                        const ModelShape& shape = small_shape());

}  // namespace trlm::adapt::sample
