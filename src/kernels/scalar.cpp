// The kernels in plain C++: what every instruction set must agree with.

#include <algorithm>
#include <bit>

#include "kernels/element.hpp"
#include "kernels/kernels.hpp"

namespace trlm::adapt::kernels {
namespace {

std::size_t first_non_finite(const std::byte* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        if (!is_finite(load_f32(values, i))) return i;
    }
    return count;
}

std::uint32_t max_magnitude(const std::byte* values, std::size_t count) {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < count; ++i) {
        largest = std::max(largest, magnitude_bits(load_f32(values, i)));
    }
    return largest;
}

std::size_t first_bad_scale(const std::byte* scales, std::size_t count, float bound) {
    for (std::size_t i = 0; i < count; ++i) {
        const float scale = load_f32(scales, i);
        if (!(scale > 0.0F && scale < bound)) return i;
    }
    return count;
}

void unpack_nibbles(const std::byte* packed, std::size_t count, std::int8_t* codes) {
    for (std::size_t j = 0; j < count; ++j)
        codes[j] = static_cast<std::int8_t>(nibble(packed, j));
}

void pack_nibbles(const std::int8_t* codes, std::size_t count, std::byte* packed) {
    for (std::size_t j = 0; j < count; j += 2) {
        packed[j / 2] = static_cast<std::byte>((codes[j] & 15) | ((codes[j + 1] & 15) << 4));
    }
}

void decode(const std::int8_t* codes, const std::byte* scales, std::size_t groups,
            std::size_t group_size, float* w) {
    for (std::size_t g = 0; g < groups; ++g) {
        const float scale = load_f32(scales, g);
        for (std::size_t j = 0; j < group_size; ++j, ++codes, ++w) {
            *w = static_cast<float>(*codes) * scale;
        }
    }
}

void add(float delta, float& w, std::uint32_t* touched) {
    bool is_touched = false;
    add_delta(delta, w, is_touched);
    if (touched != nullptr && is_touched) *touched = ~0U;
}

std::uint32_t add_dense(const DenseOperand& operand, std::size_t count, float* w,
                        std::uint32_t* touched) {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < count; ++i) {
        add(operand.strength * load_f32(operand.values, i), w[i],
            touched == nullptr ? nullptr : touched + i);
        largest = std::max(largest, magnitude_bits(w[i]));
    }
    return largest;
}

/// Element (i, j) of c * B * A.
float low_rank_element(const LowRankOperand& operand, std::size_t i, std::size_t j) {
    const float* a =
        operand.packed_a + j / panel_width * operand.rank * panel_width + j % panel_width;
    float sum = load_f32(operand.b, i * operand.rank) * a[0];
    for (std::size_t k = 1; k < operand.rank; ++k) {
        sum = sum + load_f32(operand.b, i * operand.rank + k) * a[k * panel_width];
    }
    return operand.c * sum;
}

std::uint32_t add_low_rank(std::span<const LowRankOperand> operands, std::size_t rows,
                           std::size_t cols, float* w, std::uint32_t* touched) {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < cols; ++j) {
            const std::size_t at = i * cols + j;
            for (const LowRankOperand& operand : operands) {
                add(low_rank_element(operand, i, j), w[at],
                    touched == nullptr ? nullptr : touched + at);
            }
            largest = std::max(largest, magnitude_bits(w[at]));
        }
    }
    return largest;
}

void multiply_low_rank(const LowRankOperand& operand, std::size_t rows, std::size_t cols,
                       float* delta) {
    for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < cols; ++j) {
            delta[i * cols + j] = low_rank_element(operand, i, j);
        }
    }
}

std::uint64_t count_bits(const std::byte* mask, std::size_t bytes) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
        count += static_cast<std::uint64_t>(std::popcount(std::to_integer<unsigned>(mask[i])));
    }
    return count;
}

std::size_t find_bits(const std::byte* mask, std::size_t bytes, std::uint32_t* indexes) {
    std::size_t found = 0;
    for (std::size_t i = 0; i < 8 * bytes; ++i) {
        const bool set = (std::to_integer<unsigned>(mask[i / 8]) >> (i % 8) & 1U) != 0;
        if (set) indexes[found++] = static_cast<std::uint32_t>(i);
    }
    return found;
}

std::size_t expand_bits(const std::byte* mask, std::size_t count, const std::byte* stored,
                        std::size_t /*readable*/, float* values) {
    std::size_t taken = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const bool set = (std::to_integer<unsigned>(mask[i / 8]) >> (i % 8) & 1U) != 0;
        values[i] = set ? load_f32(stored, taken) : 0.0F;
        taken += set ? 1 : 0;
    }
    return taken;
}

template <class Q>
std::size_t encode(const GroupTile& tile) {
    for (std::size_t g = 0; g < tile.groups; ++g) {
        const std::size_t first = g * tile.group_size;
        GroupExtremes extremes;
        bool touched = false;
        for (std::size_t j = 0; j < tile.group_size; ++j) {
            const TileElement element = new_element(tile, first + j);
            extremes.take(element.w, element.old);
            touched = touched || element.touched;
        }
        if (!extremes.finite) return g;
        std::int8_t* codes = tile.codes + first;
        if (!touched) {
            std::copy_n(tile.old_codes + first, tile.group_size, codes);
            std::memcpy(tile.scales + 4 * g, tile.old_scales + 4 * g, 4);
            continue;
        }
        const float old_scale =
            tile.mode == RoundingMode::nearest ? 0.0F : load_f32(tile.old_scales, g);
        const GroupRounding rounding = decide<Q>(extremes, tile.mode, old_scale);
        if (!rounding.storable) return g;
        store_f32(tile.scales, g, rounding.scale);
        for (std::size_t j = 0; j < tile.group_size; ++j) {
            codes[j] = round_element<Q>(rounding, tile, first + j);
        }
    }
    return tile.groups;
}

RowSurvival survival(const GroupTile& tile, std::size_t row, std::size_t cols) {
    SurvivalSums sums;
    for (std::size_t j = 0; j < cols; ++j) {
        const TileElement element = finished_element(tile, row * cols + j);
        sums.add(j, element.old, element.w, element.decoded, element.touched);
    }
    return sums.fold();
}

}  // namespace

const Table& scalar_table() {
    static constexpr Table table{
        .name = "scalar",
        .first_non_finite = first_non_finite,
        .max_magnitude = max_magnitude,
        .first_bad_scale = first_bad_scale,
        .unpack_nibbles = unpack_nibbles,
        .pack_nibbles = pack_nibbles,
        .decode = decode,
        .add_dense = add_dense,
        .add_low_rank = add_low_rank,
        .multiply_low_rank = multiply_low_rank,
        .count_bits = count_bits,
        .find_bits = find_bits,
        .expand_bits = expand_bits,
        .encode_q8 = encode<Q8>,
        .encode_q4 = encode<Q4>,
        .survival = survival,
    };
    return table;
}

void pack_panels(const std::byte* a, std::size_t rank, std::size_t cols, float* packed) noexcept {
    std::fill_n(packed, packed_elements(rank, cols), 0.0F);
    for (std::size_t first = 0; first < cols; first += panel_width) {
        const std::size_t width = std::min(panel_width, cols - first);
        for (std::size_t k = 0; k < rank; ++k, packed += panel_width) {
            std::memcpy(packed, a + (k * cols + first) * sizeof(float), width * sizeof(float));
        }
    }
}

}  // namespace trlm::adapt::kernels
