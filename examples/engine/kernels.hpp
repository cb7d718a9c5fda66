#pragma once
// Arithmetic on weights as they are stored. Rows are decoded one at a time, into a buffer that
// stays in the nearest cache; there is no second copy of a matrix.

#include <cstddef>
#include <span>
#include <vector>

#include <trlm/adapt/memory.hpp>

namespace engine {

namespace adapt = trlm::adapt;

/// Values of row `row` of a tensor: f32 as it is, otherwise code * scale. `values` has the tensor's
/// columns.
void decode_row(const adapt::MemoryTensor& tensor, std::size_t row, std::span<float> values);

/// The only row of a vector.
[[nodiscard]] std::vector<float> decode(const adapt::MemoryTensor& vector);

/// The sum of a[i] * b[i]. Its order depends on the length alone.
[[nodiscard]] float dot(std::span<const float> a, std::span<const float> b);

/// matrix * x for each vector x in `inputs`, which follow one another, as do the results. Each
/// result is the same whatever else is in `inputs`.
[[nodiscard]] std::vector<float> multiply(const adapt::MemoryTensor& matrix,
                                          std::span<const float> inputs);

}  // namespace engine
