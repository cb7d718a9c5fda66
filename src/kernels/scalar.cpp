// The kernels in plain C++: what every instruction set must agree with.

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

std::size_t first_bad_scale(const std::byte* scales, std::size_t count, float bound) {
    for (std::size_t i = 0; i < count; ++i) {
        const float scale = load_f32(scales, i);
        if (!(scale > 0.0F && scale < bound)) return i;
    }
    return count;
}

void decode_q8(const std::byte* codes, const std::byte* scales, std::size_t groups,
               std::size_t group_size, float* w) {
    for (std::size_t g = 0; g < groups; ++g) {
        const float scale = load_f32(scales, g);
        for (std::size_t j = 0; j < group_size; ++j, ++codes, ++w) {
            *w = static_cast<float>(static_cast<std::int8_t>(*codes)) * scale;
        }
    }
}

void decode_q4(const std::byte* codes, const std::byte* scales, std::size_t groups,
               std::size_t group_size, float* w) {
    for (std::size_t g = 0; g < groups; ++g, codes += group_size / 2) {
        const float scale = load_f32(scales, g);
        for (std::size_t j = 0; j < group_size; ++j, ++w) {
            *w = static_cast<float>(nibble(codes, j)) * scale;
        }
    }
}

void add(float delta, float& w, std::uint32_t* touched) {
    if (delta == 0.0F) return;
    w = w + delta;
    if (touched != nullptr) *touched = ~0U;
}

void add_dense(const std::byte* values, float strength, std::size_t count, float* w,
               std::uint32_t* touched) {
    for (std::size_t i = 0; i < count; ++i) {
        add(strength * load_f32(values, i), w[i], touched == nullptr ? nullptr : touched + i);
    }
}

void add_low_rank(const LowRankOperand& operand, const std::byte* b, std::size_t rows, float* w,
                  std::uint32_t* touched) {
    for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < operand.cols; ++j) {
            const float* a =
                operand.packed_a + j / panel_width * operand.rank * panel_width + j % panel_width;
            float sum = load_f32(b, i * operand.rank) * a[0];
            for (std::size_t k = 1; k < operand.rank; ++k) {
                sum = sum + load_f32(b, i * operand.rank + k) * a[k * panel_width];
            }
            const std::size_t at = i * operand.cols + j;
            add(operand.c * sum, w[at], touched == nullptr ? nullptr : touched + at);
        }
    }
}

void store_code(Q8, std::byte* codes, std::size_t index, int code) {
    codes[index] = static_cast<std::byte>(code);
}

void store_code(Q4, std::byte* codes, std::size_t index, int code) {
    const auto bits = static_cast<std::byte>(code & 15);
    std::byte& byte = codes[index / 2];
    byte = index % 2 == 0 ? bits : byte | (bits << 4);
}

int load_code(Q8, const std::byte* codes, std::size_t index) {
    return static_cast<std::int8_t>(codes[index]);
}

int load_code(Q4, const std::byte* codes, std::size_t index) {
    return nibble(codes, index);
}

template <class Q>
std::size_t encode(const EncodeTile& tile, std::size_t code_bytes) {
    const bool may_be_stochastic = tile.mode != RoundingMode::nearest;
    for (std::size_t g = 0; g < tile.groups; ++g) {
        const std::size_t first = g * tile.group_size;
        const float* w = tile.w + first;
        const std::uint32_t* touched = tile.touched == nullptr ? nullptr : tile.touched + first;
        const auto is_touched = [&](std::size_t j) {
            return touched == nullptr || touched[j] != 0;
        };

        bool any = false;
        GroupExtremes extremes{w[0], w[0], 0, true};
        for (std::size_t j = 0; j < tile.group_size; ++j) {
            any = any || is_touched(j);
            extremes.finite = extremes.finite && is_finite(w[j]);
            extremes.min = std::min(extremes.min, w[j]);
            extremes.max = std::max(extremes.max, w[j]);
            if (may_be_stochastic) {
                extremes.max_change =
                    std::max(extremes.max_change, std::fabs(w[j] - tile.old[first + j]));
            }
        }
        const std::byte* old_codes = tile.old_codes + g * code_bytes;
        std::byte* codes = tile.codes + g * code_bytes;
        if (!any) {
            std::memcpy(codes, old_codes, code_bytes);
            std::memcpy(tile.scales + 4 * g, tile.old_scales + 4 * g, 4);
            continue;
        }
        const float old_scale = may_be_stochastic ? load_f32(tile.old_scales, g) : 0.0F;
        const GroupRounding rounding = decide<Q>(extremes, may_be_stochastic,
                                                 tile.mode == RoundingMode::stochastic, old_scale);
        if (!rounding.storable) return g;
        store_f32(tile.scales, g, rounding.scale);
        for (std::size_t j = 0; j < tile.group_size; ++j) {
            int code;
            if (!rounding.stochastic || (!is_touched(j) && !rounding.scale_kept)) {
                code = round_nearest<Q>(w[j], rounding.inv);
            } else if (!is_touched(j)) {
                code = load_code(Q{}, old_codes, j);
            } else {
                code = round_stochastic<Q>(w[j], rounding.inv,
                                           uniform(tile.key, tile.first_element + first + j));
            }
            store_code(Q{}, codes, j, code);
        }
    }
    return tile.groups;
}

std::size_t encode_q8(const EncodeTile& tile) {
    return encode<Q8>(tile, tile.group_size);
}
std::size_t encode_q4(const EncodeTile& tile) {
    return encode<Q4>(tile, tile.group_size / 2);
}

double fold(const double (&p)[8]) {
    return ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));
}

RowSurvival survival(const float* old, const float* w, const float* decoded,
                     const std::uint32_t* touched, std::size_t cols) {
    RowSurvival row;
    double intended_effective[8] = {};
    double intended_squared[8] = {};
    double effective_squared[8] = {};
    double error_squared[8] = {};
    for (std::size_t j = 0; j < cols; ++j) {
        const double intended = static_cast<double>(w[j]) - static_cast<double>(old[j]);
        const double effective = static_cast<double>(decoded[j]) - static_cast<double>(old[j]);
        const double error = effective - intended;
        intended_effective[j % 8] += intended * effective;
        intended_squared[j % 8] += intended * intended;
        effective_squared[j % 8] += effective * effective;
        error_squared[j % 8] += error * error;
        row.max_abs_delta = std::max(row.max_abs_delta, std::fabs(intended));
        row.touched += touched[j] != 0 ? 1 : 0;
        row.changed +=
            std::bit_cast<std::uint32_t>(decoded[j]) != std::bit_cast<std::uint32_t>(old[j]) ? 1
                                                                                             : 0;
    }
    row.intended_effective = fold(intended_effective);
    row.intended_squared = fold(intended_squared);
    row.effective_squared = fold(effective_squared);
    row.error_squared = fold(error_squared);
    return row;
}

}  // namespace

const Table& scalar_table() {
    static constexpr Table table{
        .name = "scalar",
        .first_non_finite = first_non_finite,
        .first_bad_scale = first_bad_scale,
        .decode_q8 = decode_q8,
        .decode_q4 = decode_q4,
        .add_dense = add_dense,
        .add_low_rank = add_low_rank,
        .encode_q8 = encode_q8,
        .encode_q4 = encode_q4,
        .survival = survival,
    };
    return table;
}

std::vector<float> pack_panels(const std::byte* a, std::size_t rank, std::size_t cols) {
    const std::size_t panels = (cols + panel_width - 1) / panel_width;
    std::vector<float> packed(panels * rank * panel_width);
    for (std::size_t panel = 0; panel < panels; ++panel) {
        const std::size_t first = panel * panel_width;
        const std::size_t width = std::min(panel_width, cols - first);
        for (std::size_t k = 0; k < rank; ++k) {
            std::memcpy(packed.data() + (panel * rank + k) * panel_width,
                        a + (k * cols + first) * sizeof(float), width * sizeof(float));
        }
    }
    return packed;
}

}  // namespace trlm::adapt::kernels
