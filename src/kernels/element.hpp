#pragma once
// The arithmetic of one element, straight from docs/formats.md section 4. The scalar kernels are
// made of it, and the SIMD kernels use it for the ends of rows.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/kernels.hpp"

namespace trlm::adapt::kernels {

/// For each byte of a mask, where its set bits' values stand among the next ones: lane i takes the
/// value number popcount(bits below i).
struct ExpandTable {
    alignas(64) std::uint32_t index[256][8];
    alignas(64) std::uint32_t keep[256][8];  // all ones where the bit is set
};

constexpr ExpandTable make_expand_table() {
    ExpandTable table{};
    for (unsigned byte = 0; byte < 256; ++byte) {
        std::uint32_t next = 0;
        for (unsigned i = 0; i < 8; ++i) {
            const bool set = (byte >> i & 1U) != 0;
            table.index[byte][i] = set ? next++ : 0;
            table.keep[byte][i] = set ? ~0U : 0U;
        }
    }
    return table;
}

inline constexpr ExpandTable expand_table = make_expand_table();

/// Codes of a storage and how a scale is fitted to the extremes of a group.
struct Q8 {
    static constexpr float lo = -127;
    static constexpr float hi = 127;
    static constexpr bool symmetric = true;   ///< magnitudes decide the scale
    static constexpr float bound = 0x1p121F;  ///< scales lie below
    static float fit(float pos, float neg) { return std::max(pos, neg) / 127.0F; }
};
struct Q4 {
    static constexpr float lo = -8;
    static constexpr float hi = 7;
    static constexpr bool symmetric = false;
    static constexpr float bound = 0x1p125F;
    static float fit(float pos, float neg) { return std::max(pos / 7.0F, neg / 8.0F); }
};

inline constexpr float smallest_scale = 0x1p-126F;

inline float load_f32(const std::byte* bytes, std::size_t index) {
    float value;
    std::memcpy(&value, bytes + index * sizeof value, sizeof value);
    return value;
}

inline void store_f32(std::byte* bytes, std::size_t index, float value) {
    std::memcpy(bytes + index * sizeof value, &value, sizeof value);
}

/// Bits of |value|: in the order of the magnitudes, with infinity and NaN on top.
inline std::uint32_t magnitude_bits(float value) {
    return std::bit_cast<std::uint32_t>(value) & 0x7fffffffU;
}

inline bool is_finite(float value) {
    return magnitude_bits(value) < infinity_bits;
}

/// Code `index` of q4_0 codes: two's-complement nibbles, low nibble first.
inline int nibble(const std::byte* codes, std::size_t index) {
    const int byte = std::to_integer<int>(codes[index / 2]);
    const int bits = index % 2 == 0 ? byte & 15 : byte >> 4;
    return (bits ^ 8) - 8;
}

inline std::uint32_t mix(std::uint32_t z) {
    z ^= z >> 16;
    z *= 0x7feb352dU;
    z ^= z >> 15;
    z *= 0x846ca68bU;
    z ^= z >> 16;
    return z;
}

/// The uniform number in [0, 1) of an element, a function of seed, tensor and index only.
inline float uniform(std::uint64_t key, std::uint64_t index) {
    const auto k0 = static_cast<std::uint32_t>(key);
    const auto k1 = static_cast<std::uint32_t>(key >> 32);
    const auto lo32 = static_cast<std::uint32_t>(index);
    const auto hi32 = static_cast<std::uint32_t>(index >> 32);
    const std::uint32_t h = mix((mix(lo32 ^ k0) ^ k1) + hi32 * 0x9e3779b9U);
    return static_cast<float>(h >> 8) * 0x1p-24F;
}

/// clamp(rne(w * inv)). Clamping first gives the same code, as the bounds are whole numbers. A
/// kept scale so small that 1/scale is infinite can make w * inv NaN (0 * inf): that is code 0.
template <class Q>
int round_nearest(float w, float inv) {
    const float x = w * inv;
    if (x != x) return 0;
    return static_cast<int>(std::nearbyintf(std::clamp(x, Q::lo, Q::hi)));
}

/// Up with the probability of the fraction.
template <class Q>
int round_stochastic(float w, float inv, float u) {
    const float x = w * inv;
    if (x != x) return 0;
    const float floor = std::floor(x);
    const float fraction = x - floor;
    return static_cast<int>(std::clamp(u < fraction ? floor + 1.0F : floor, Q::lo, Q::hi));
}

/// What rounding needs to know of a group's values.
struct GroupExtremes {
    float min = std::numeric_limits<float>::infinity();   ///< of w
    float max = -std::numeric_limits<float>::infinity();  ///< of w
    float max_change = 0;                                 ///< max |fl(w - old)|
    bool finite = true;

    void take(float w, float old) {
        min = std::min(min, w);
        max = std::max(max, w);
        max_change = std::max(max_change, std::fabs(w - old));
        finite = finite && is_finite(w);
    }
};

/// How a touched group is rounded, decided from its extremes.
struct GroupRounding {
    float scale = 0;
    float inv = 0;
    bool stochastic = false;
    bool scale_kept = false;
    bool storable = false;  ///< false: a value is not finite or the scale is out of bounds
};

template <class Q>
GroupRounding decide(const GroupExtremes& extremes, RoundingMode mode, float old_scale) {
    GroupRounding rounding;
    if (!extremes.finite) return rounding;
    rounding.stochastic =
        mode == RoundingMode::stochastic ||
        (mode == RoundingMode::adaptive && extremes.max_change < 0.75F * old_scale);
    rounding.scale_kept = rounding.stochastic && Q::lo * old_scale <= extremes.min &&
                          extremes.max <= Q::hi * old_scale;
    const float pos = std::max(0.0F, extremes.max);
    const float neg = std::max(0.0F, -extremes.min);
    rounding.scale = rounding.scale_kept ? old_scale : std::max(Q::fit(pos, neg), smallest_scale);
    rounding.inv = 1.0F / rounding.scale;
    rounding.storable = rounding.scale < Q::bound;
    return rounding;
}

/// Survival of a row, element by element.
class SurvivalSums {
public:
    static constexpr std::size_t width = 8;
    double intended_effective[width] = {};
    double intended_squared[width] = {};
    double effective_squared[width] = {};
    double error_squared[width] = {};
    RowSurvival row;

    void add(std::size_t column, float old, float w, float decoded, bool touched) {
        const double intended = static_cast<double>(w) - static_cast<double>(old);
        const double effective = static_cast<double>(decoded) - static_cast<double>(old);
        const double error = effective - intended;
        const std::size_t part = column % width;
        intended_effective[part] += intended * effective;
        intended_squared[part] += intended * intended;
        effective_squared[part] += effective * effective;
        error_squared[part] += error * error;
        row.max_abs_delta = std::max(row.max_abs_delta, std::fabs(intended));
        row.touched += touched ? 1 : 0;
        row.changed +=
            std::bit_cast<std::uint32_t>(decoded) != std::bit_cast<std::uint32_t>(old) ? 1 : 0;
    }

    [[nodiscard]] RowSurvival fold() const {
        RowSurvival folded = row;
        folded.intended_effective = fold(intended_effective);
        folded.intended_squared = fold(intended_squared);
        folded.effective_squared = fold(effective_squared);
        folded.error_squared = fold(error_squared);
        return folded;
    }

private:
    static double fold(const double (&p)[width]) {
        return ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));
    }
};

/// Element `at` of a tile, before and after.
struct TileElement {
    float old = 0;
    float w = 0;
    float decoded = 0;
    bool touched = false;
};

/// Adds a delta unless it is zero.
inline void add_delta(float delta, float& w, bool& touched) {
    if (delta == 0.0F) return;
    w = w + delta;
    touched = true;
}

/// The element before the tile is encoded (`decoded` is left alone).
inline TileElement new_element(const GroupTile& tile, std::size_t at) {
    TileElement element;
    if (tile.old_values != nullptr) {
        element.old = load_f32(tile.old_values, at);
    } else if (tile.old_codes != nullptr) {
        element.old = static_cast<float>(tile.old_codes[at]) *
                      load_f32(tile.old_scales, at / tile.group_size);
    } else {
        element.old = tile.w[at];
    }
    if (tile.w != nullptr) {
        element.w = tile.w[at];
        element.touched = tile.touched == nullptr || tile.touched[at] != 0;
        return element;
    }
    element.w = element.old;
    for (const DenseOperand& operand : tile.operands) {
        add_delta(operand.strength * load_f32(operand.values, at), element.w, element.touched);
    }
    return element;
}

/// The new code of element `at`.
template <class Q>
std::int8_t round_element(const GroupRounding& rounding, const GroupTile& tile, std::size_t at) {
    const TileElement element = new_element(tile, at);
    if (rounding.stochastic && element.touched) {
        const float u = uniform(tile.key, tile.first_element + at);
        return static_cast<std::int8_t>(round_stochastic<Q>(element.w, rounding.inv, u));
    }
    if (rounding.scale_kept) return tile.old_codes[at];
    return static_cast<std::int8_t>(round_nearest<Q>(element.w, rounding.inv));
}

/// The element after the tile is encoded.
inline TileElement finished_element(const GroupTile& tile, std::size_t at) {
    TileElement element = new_element(tile, at);
    element.decoded = tile.codes == nullptr ? element.w
                                            : static_cast<float>(tile.codes[at]) *
                                                  load_f32(tile.scales, at / tile.group_size);
    return element;
}

}  // namespace trlm::adapt::kernels
