// The kernels once for every instruction set that Highway compiles for here. This file is compiled
// several times (foreach_target); the part under HWY_ONCE only once.

#include "kernels/kernels.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/element.hpp"

// Vectors of a length unknown to the compiler cannot be kept in arrays, as the tiles here are;
// such CPUs run the fixed-length targets as well.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace trlm::adapt::kernels {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

// Without SIMD the plain C++ kernels are the better code.
const Table& table() {
    return scalar_table();
}

#else

namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, panel_width>;  // at most one panel wide
using U = hn::Rebind<std::uint32_t, F>;
using I = hn::Rebind<std::int32_t, F>;
using I8 = hn::Rebind<std::int8_t, F>;
using VF = hn::Vec<F>;
using VU = hn::Vec<U>;

inline const float* floats(const std::byte* bytes) {
    return reinterpret_cast<const float*>(bytes);  // only for LoadU, which takes any alignment
}

/// Bits of |v|: integers in the order of the magnitudes, infinity and NaN on top.
inline VU magnitude_bits(VF v) {
    const U du;
    return hn::And(hn::BitCast(du, v), hn::Set(du, 0x7fffffffU));
}

/// Largest magnitude of whole vectors, up to `done` elements, which is set.
HWY_INLINE VU max_magnitude_lanes(const float* p, std::size_t count, std::size_t& done) {
    const F df;
    const U du;
    const std::size_t lanes = hn::Lanes(df);
    // Four chains: one would wait for itself.
    VU largest[4];
    for (VU& each : largest)
        each = hn::Zero(du);
    std::size_t i = 0;
    for (; i + 4 * lanes <= count; i += 4 * lanes) {
        for (std::size_t v = 0; v < 4; ++v) {
            largest[v] = hn::Max(largest[v], magnitude_bits(hn::LoadU(df, p + i + v * lanes)));
        }
    }
    for (; i + lanes <= count; i += lanes) {
        largest[0] = hn::Max(largest[0], magnitude_bits(hn::LoadU(df, p + i)));
    }
    done = i;
    return hn::Max(hn::Max(largest[0], largest[1]), hn::Max(largest[2], largest[3]));
}

std::uint32_t max_magnitude(const std::byte* values, std::size_t count) {
    const U du;
    std::size_t i = 0;
    const auto lanes = max_magnitude_lanes(floats(values), count, i);
    std::uint32_t largest = hn::GetLane(hn::MaxOfLanes(du, lanes));
    for (; i < count; ++i) {
        largest = HWY_MAX(largest, kernels::magnitude_bits(load_f32(values, i)));
    }
    return largest;
}

std::size_t first_non_finite(const std::byte* values, std::size_t count) {
    // Stretch by stretch; one with a bad value is searched element by element.
    constexpr std::size_t stretch = 4096;
    for (std::size_t i = 0; i < count; i += stretch) {
        const std::size_t some = HWY_MIN(stretch, count - i);
        if (max_magnitude(values + i * sizeof(float), some) < infinity_bits) continue;
        while (is_finite(load_f32(values, i)))
            ++i;
        return i;
    }
    return count;
}

std::size_t first_bad_scale(const std::byte* scales, std::size_t count, float bound) {
    const F df;
    const std::size_t lanes = hn::Lanes(df);
    const auto zero = hn::Zero(df);
    const auto top = hn::Set(df, bound);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        const auto v = hn::LoadU(df, floats(scales + i * sizeof(float)));
        if (!hn::AllTrue(df, hn::And(hn::Gt(v, zero), hn::Lt(v, top)))) break;
    }
    for (; i < count; ++i) {
        const float scale = load_f32(scales, i);
        if (!(scale > 0.0F && scale < bound)) return i;
    }
    return count;
}

/// Both nibbles of 16 bytes as 32 codes.
void unpack_nibbles(const std::byte* packed, std::size_t count, std::int8_t* codes) {
    const hn::Full128<std::uint8_t> du8;
    const hn::Full128<std::uint16_t> du16;
    const auto low = hn::Set(du8, std::uint8_t{15});
    const auto eight = hn::Set(du8, std::uint8_t{8});
    auto* out = reinterpret_cast<std::uint8_t*>(codes);
    std::size_t j = 0;
    for (; j + 32 <= count; j += 32) {
        const auto bytes = hn::LoadU(du8, reinterpret_cast<const std::uint8_t*>(packed) + j / 2);
        const auto shifted = hn::BitCast(du8, hn::ShiftRight<4>(hn::BitCast(du16, bytes)));
        const auto even = hn::Sub(hn::Xor(hn::And(bytes, low), eight), eight);
        const auto odd = hn::Sub(hn::Xor(hn::And(shifted, low), eight), eight);
        hn::StoreU(hn::InterleaveLower(du8, even, odd), du8, out + j);
        hn::StoreU(hn::InterleaveUpper(du8, even, odd), du8, out + j + 16);
    }
    for (; j < count; ++j)
        codes[j] = static_cast<std::int8_t>(nibble(packed, j));
}

/// 32 codes to 16 bytes.
void pack_nibbles(const std::int8_t* codes, std::size_t count, std::byte* packed) {
    const hn::Full128<std::uint8_t> du8;
    const hn::Full128<std::uint16_t> du16;
    const hn::Full128<std::int16_t> di16;
    const hn::Half<hn::Full128<std::uint8_t>> half;
    std::size_t j = 0;
    for (; j + 16 <= count; j += 16) {
        const auto pairs =
            hn::BitCast(du16, hn::LoadU(du8, reinterpret_cast<const std::uint8_t*>(codes) + j));
        const auto low = hn::And(pairs, hn::Set(du16, std::uint16_t{0x000f}));
        const auto high = hn::And(hn::ShiftRight<4>(pairs), hn::Set(du16, std::uint16_t{0x00f0}));
        const auto bytes = hn::DemoteTo(half, hn::BitCast(di16, hn::Or(low, high)));
        hn::StoreU(bytes, half, reinterpret_cast<std::uint8_t*>(packed) + j / 2);
    }
    for (; j < count; j += 2) {
        packed[j / 2] = static_cast<std::byte>((codes[j] & 15) | ((codes[j + 1] & 15) << 4));
    }
}

/// Whole numbers of less than 2^22 as floats.
inline VF as_floats(hn::Vec<I> whole) {
#if HWY_TARGET == HWY_WASM
    // clang makes of a conversion that follows a promotion one by one, four times as slow: here the
    // number becomes the low bits of 1.5 * 2^23 + number, and the rest is taken off again.
    const F df;
    const auto magic = hn::Set(df, 0x1.8p23F);
    return hn::Sub(hn::BitCast(df, hn::Add(whole, hn::BitCast(I(), magic))), magic);
#else
    return hn::ConvertTo(F(), whole);
#endif
}

inline VF decoded(const std::int8_t* codes, VF scale) {
    return hn::Mul(as_floats(hn::PromoteTo(I(), hn::LoadU(I8(), codes))), scale);
}

void decode(const std::int8_t* codes, const std::byte* scales, std::size_t groups,
            std::size_t group_size, float* HWY_RESTRICT w) {
    const F df;
    const std::size_t lanes = hn::Lanes(df);
    for (std::size_t g = 0; g < groups; ++g, codes += group_size, w += group_size) {
        const float scale = load_f32(scales, g);
        const auto vs = hn::Set(df, scale);
        std::size_t j = 0;
        for (; j + lanes <= group_size; j += lanes)
            hn::StoreU(decoded(codes + j, vs), df, w + j);
        for (; j < group_size; ++j)
            w[j] = static_cast<float>(codes[j]) * scale;
    }
}

/// w where delta is zero, w + delta elsewhere.
HWY_INLINE VF with_delta(VF w, VF delta) {
    return hn::IfThenElse(hn::Eq(delta, hn::Zero(F())), w, hn::Add(w, delta));
}

/// Marks the elements one of whose deltas is not zero, given the bits of all of them.
HWY_INLINE void mark(VU deltas, std::uint32_t* touched) {
    const U du;
    const auto magnitudes = hn::And(deltas, hn::Set(du, 0x7fffffffU));
    const auto some = hn::VecFromMask(du, hn::Ne(magnitudes, hn::Zero(du)));
    hn::StoreU(hn::Or(hn::LoadU(du, touched), some), du, touched);
}

inline void add_one(float delta, float& w, std::uint32_t* touched) {
    if (delta == 0.0F) return;
    w = w + delta;
    if (touched != nullptr) *touched = ~0U;
}

inline VF dense_delta(const DenseOperand& operand, std::size_t i) {
    const F df;
    return hn::Mul(hn::Set(df, operand.strength),
                   hn::LoadU(df, floats(operand.values + i * sizeof(float))));
}

inline float dense_delta_one(const DenseOperand& operand, std::size_t i) {
    return operand.strength * load_f32(operand.values, i);
}

/// Bits of the largest of the magnitudes in a vector and that of `tail`.
HWY_INLINE std::uint32_t largest_of(VU lanes, std::uint32_t tail) {
    return HWY_MAX(hn::GetLane(hn::MaxOfLanes(U(), lanes)), tail);
}

template <bool kTouched>
std::uint32_t add_dense_impl(const DenseOperand& operand, std::size_t count, float* HWY_RESTRICT w,
                             std::uint32_t* HWY_RESTRICT touched) {
    const F df;
    const std::size_t lanes = hn::Lanes(df);
    auto largest = hn::Zero(U());
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        const auto delta = dense_delta(operand, i);
        const auto sum = with_delta(hn::LoadU(df, w + i), delta);
        hn::StoreU(sum, df, w + i);
        if constexpr (kTouched) mark(hn::BitCast(U(), delta), touched + i);
        largest = hn::Max(largest, magnitude_bits(sum));
    }
    std::uint32_t tail = 0;
    for (; i < count; ++i) {
        add_one(dense_delta_one(operand, i), w[i], kTouched ? touched + i : nullptr);
        tail = HWY_MAX(tail, kernels::magnitude_bits(w[i]));
    }
    return largest_of(largest, tail);
}

std::uint32_t add_dense(const DenseOperand& operand, std::size_t count, float* w,
                        std::uint32_t* touched) {
    return touched != nullptr ? add_dense_impl<true>(operand, count, w, touched)
                              : add_dense_impl<false>(operand, count, w, nullptr);
}

/// What becomes of a low-rank delta: stored as it is, added, or added and marked.
enum class Epilogue { store, add, add_and_mark };

/// Rows that are worked on at once: their sums, and the values that these are added to, fill the
/// registers. More rows share what is loaded of A, and hide how long an addition takes.
constexpr std::size_t kRowsAtOnce = HWY_TARGET <= HWY_AVX3 ? 8 : 4;
static_assert(low_rank_rows_at_once % kRowsAtOnce == 0);

/// The sums over k of `kRows` rows and one panel of columns, which begins at `a`.
template <std::size_t kRows>
struct LowRankSums {
    static constexpr std::size_t kVectors = panel_width / hn::MaxLanes(F());
    VF sum[kRows][kVectors];

    HWY_INLINE LowRankSums(const LowRankOperand& operand, const float* HWY_RESTRICT a,
                           std::size_t row) {
        const F df;
        const std::size_t lanes = hn::Lanes(df);
        const std::size_t rank = operand.rank;
        const std::byte* b = operand.b + row * rank * sizeof(float);
        for (std::size_t v = 0; v < kVectors; ++v) {
            const auto va = hn::LoadU(df, a + v * lanes);
            for (std::size_t i = 0; i < kRows; ++i) {
                sum[i][v] = hn::Mul(hn::Set(df, load_f32(b, i * rank)), va);
            }
        }
        for (std::size_t k = 1; k < rank; ++k) {
            VF va[kVectors];
            for (std::size_t v = 0; v < kVectors; ++v) {
                va[v] = hn::LoadU(df, a + k * panel_width + v * lanes);
            }
            for (std::size_t i = 0; i < kRows; ++i) {
                const auto vb = hn::Set(df, load_f32(b, i * rank + k));
                for (std::size_t v = 0; v < kVectors; ++v) {
                    sum[i][v] = hn::Add(sum[i][v], hn::Mul(vb, va[v]));
                }
            }
        }
    }
};

/// Rows [row, row + kRows) of a panel. What deltas are added to stays in registers from operand to
/// operand.
template <Epilogue kEpilogue, std::size_t kRows>
HWY_INLINE void low_rank_block(std::span<const LowRankOperand> operands, std::size_t panel,
                               std::size_t row, float* w, std::uint32_t* touched,
                               std::size_t stride, VU& largest) {
    using Sums = LowRankSums<kRows>;
    const F df;
    const U du;
    const std::size_t lanes = hn::Lanes(df);
    VF value[kRows][Sums::kVectors];
    VU deltas[kRows][Sums::kVectors];  // bits of all of them: zero but for signs where untouched
    for (std::size_t i = 0; i < kRows; ++i) {
        for (std::size_t v = 0; v < Sums::kVectors; ++v) {
            deltas[i][v] = hn::Zero(du);
            value[i][v] = hn::Zero(df);
            if constexpr (kEpilogue != Epilogue::store) {
                value[i][v] = hn::LoadU(df, w + (row + i) * stride + v * lanes);
            }
        }
    }
    for (const LowRankOperand& operand : operands) {
        const float* a = operand.packed_a + panel * panel_width * operand.rank;
        const Sums sums(operand, a, row);
        const auto c = hn::Set(df, operand.c);
        for (std::size_t i = 0; i < kRows; ++i) {
            for (std::size_t v = 0; v < Sums::kVectors; ++v) {
                const auto delta = hn::Mul(c, sums.sum[i][v]);
                if constexpr (kEpilogue == Epilogue::store) {
                    value[i][v] = delta;
                } else {
                    value[i][v] = with_delta(value[i][v], delta);
                    deltas[i][v] = hn::Or(deltas[i][v], hn::BitCast(du, delta));
                }
            }
        }
    }
    for (std::size_t i = 0; i < kRows; ++i) {
        for (std::size_t v = 0; v < Sums::kVectors; ++v) {
            const std::size_t at = (row + i) * stride + v * lanes;
            hn::StoreU(value[i][v], df, w + at);
            if constexpr (kEpilogue != Epilogue::store) {
                largest = hn::Max(largest, magnitude_bits(value[i][v]));
            }
            if constexpr (kEpilogue == Epilogue::add_and_mark) mark(deltas[i][v], touched + at);
        }
    }
}

/// A whole panel of all rows.
template <Epilogue kEpilogue>
void low_rank_panel(std::span<const LowRankOperand> operands, std::size_t panel,
                    std::size_t first_row, std::size_t rows, float* w, std::uint32_t* touched,
                    std::size_t stride, VU& largest) {
    std::size_t i = first_row;
    const std::size_t end = first_row + rows;
    for (; i + kRowsAtOnce <= end; i += kRowsAtOnce) {
        low_rank_block<kEpilogue, kRowsAtOnce>(operands, panel, i, w, touched, stride, largest);
    }
    for (; i < end; ++i) {
        low_rank_block<kEpilogue, 1>(operands, panel, i, w, touched, stride, largest);
    }
}

/// The columns that do not fill a panel, row by row over a panel of their own.
template <Epilogue kEpilogue>
void low_rank_edge(std::span<const LowRankOperand> operands, std::size_t rows, std::size_t cols,
                   float* w, std::uint32_t* touched, VU& largest) {
    const std::size_t first = cols - cols % panel_width;
    const std::size_t width = cols - first;
    for (std::size_t i = 0; i < rows; ++i) {
        alignas(64) float edge[panel_width] = {};
        alignas(64) std::uint32_t marks[panel_width] = {};
        float* row = w + i * cols + first;
        std::uint32_t* row_marks = touched + i * cols + first;
        std::memcpy(edge, row, width * sizeof *edge);
        if constexpr (kEpilogue == Epilogue::add_and_mark) {
            std::memcpy(marks, row_marks, width * sizeof *marks);
        }
        // A stride of 0: this row is the only one.
        low_rank_panel<kEpilogue>(operands, first / panel_width, i, 1, edge, marks, 0, largest);
        std::memcpy(row, edge, width * sizeof *edge);
        if constexpr (kEpilogue == Epilogue::add_and_mark) {
            std::memcpy(row_marks, marks, width * sizeof *marks);
        }
    }
}

template <Epilogue kEpilogue>
std::uint32_t low_rank(std::span<const LowRankOperand> operands, std::size_t rows, std::size_t cols,
                       float* w, std::uint32_t* touched) {
    auto largest = hn::Zero(U());
    for (std::size_t first = 0; first + panel_width <= cols; first += panel_width) {
        low_rank_panel<kEpilogue>(operands, first / panel_width, 0, rows, w + first,
                                  touched + first, cols, largest);
    }
    if (cols % panel_width != 0) {
        low_rank_edge<kEpilogue>(operands, rows, cols, w, touched, largest);
    }
    return largest_of(largest, 0);
}

/// A pointer that takes part in the arithmetic on pointers but is never read or written.
inline std::uint32_t* unmarked(float* w) {
    return reinterpret_cast<std::uint32_t*>(w);
}

std::uint32_t add_low_rank(std::span<const LowRankOperand> operands, std::size_t rows,
                           std::size_t cols, float* w, std::uint32_t* touched) {
    return touched != nullptr ? low_rank<Epilogue::add_and_mark>(operands, rows, cols, w, touched)
                              : low_rank<Epilogue::add>(operands, rows, cols, w, unmarked(w));
}

void multiply_low_rank(const LowRankOperand& operand, std::size_t rows, std::size_t cols,
                       float* delta) {
    low_rank<Epilogue::store>({&operand, 1}, rows, cols, delta, unmarked(delta));
}

/// Up to eight bytes of a mask, the first one lowest; zeros behind them.
HWY_INLINE std::uint64_t mask_word(const std::byte* mask, std::size_t bytes) {
    std::uint64_t word = 0;
    if (HWY_LIKELY(bytes >= sizeof word)) {
        std::memcpy(&word, mask, sizeof word);
    } else {
        std::memcpy(&word, mask, bytes);
    }
    return word;
}

std::uint64_t count_bits(const std::byte* mask, std::size_t bytes) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < bytes; i += sizeof(std::uint64_t)) {
        count += static_cast<std::uint64_t>(std::popcount(mask_word(mask + i, bytes - i)));
    }
    return count;
}

std::size_t find_bits(const std::byte* mask, std::size_t bytes, std::uint32_t* indexes) {
    constexpr int at_once = 4;  // so few that a guess how many there are is mostly right
    static_assert(at_once <= index_room(0));
    std::uint32_t* next = indexes;
    for (std::size_t i = 0; i < bytes; i += sizeof(std::uint64_t)) {
        std::uint64_t word = mask_word(mask + i, bytes - i);
        const int count = std::popcount(word);
        for (int found = 0; found < count; found += at_once) {
            for (int k = 0; k < at_once; ++k) {
                next[found + k] = static_cast<std::uint32_t>(8 * i) +
                                  static_cast<std::uint32_t>(std::countr_zero(word));
                word &= word - 1;
            }
        }
        next += count;
    }
    return static_cast<std::size_t>(next - indexes);
}

std::size_t expand_bits(const std::byte* mask, std::size_t count, const std::byte* stored,
                        [[maybe_unused]] std::size_t readable, float* values) {
    std::size_t taken = 0;
    std::size_t i = 0;
#if HWY_MAX_BYTES >= 32
    const hn::CappedTag<float, 8> df;
    const hn::RebindToUnsigned<decltype(df)> du;
    const hn::RebindToSigned<decltype(df)> di;
    for (; i + 8 <= count && taken + 8 <= readable; i += 8) {
        const auto byte = std::to_integer<std::size_t>(mask[i / 8]);
        const auto next = hn::LoadU(df, floats(stored + taken * sizeof(float)));
        const auto index =
            hn::IndicesFromVec(df, hn::BitCast(di, hn::Load(du, expand_table.index[byte])));
        const auto keep = hn::Load(du, expand_table.keep[byte]);
        const auto placed = hn::BitCast(du, hn::TableLookupLanes(next, index));
        hn::StoreU(hn::BitCast(df, hn::And(placed, keep)), df, values + i);
        taken += hwy::PopCount(static_cast<std::uint64_t>(byte));
    }
#endif
    for (; i < count; ++i) {
        const bool set = (std::to_integer<unsigned>(mask[i / 8]) >> (i % 8) & 1U) != 0;
        values[i] = set ? load_f32(stored, taken) : 0.0F;
        taken += set ? 1 : 0;
    }
    return taken;
}

/// Where the new values of a tile come from.
enum class Deltas {
    one,    ///< old values and one operand
    many,   ///< old values and several operands
    added,  ///< `w` and `touched` of the tile
};

/// New values of the elements from `at` on, and the bits of their deltas (all ones where `added`).
struct NewLanes {
    VF w;
    VU marks;
};

template <Deltas kDeltas>
HWY_INLINE NewLanes new_lanes(const GroupTile& tile, const DenseOperand& first, VF old,
                              std::size_t at) {
    const F df;
    const U du;
    if constexpr (kDeltas == Deltas::added) {
        return {hn::LoadU(df, tile.w + at),
                tile.touched == nullptr ? hn::Set(du, ~0U) : hn::LoadU(du, tile.touched + at)};
    } else {
        const auto delta = dense_delta(first, at);
        NewLanes lanes{with_delta(old, delta), hn::BitCast(du, delta)};
        if constexpr (kDeltas == Deltas::many) {
            for (std::size_t i = 1; i < tile.operands.size(); ++i) {
                const auto next = dense_delta(tile.operands[i], at);
                lanes.marks = hn::Or(lanes.marks, hn::BitCast(du, next));
                lanes.w = with_delta(lanes.w, next);
            }
        }
        return lanes;
    }
}

template <Deltas kDeltas>
inline DenseOperand first_operand(const GroupTile& tile) {
    if constexpr (kDeltas == Deltas::added) return {};
    return tile.operands[0];
}

/// Where the bits of all deltas are zero, but for signs.
HWY_INLINE hn::Mask<U> is_untouched(VU marks) {
    const U du;
    return hn::Eq(hn::And(marks, hn::Set(du, 0x7fffffffU)), hn::Zero(du));
}

/// Running extremes of a group, a vector wide: of Q's rounding only what it asks for. `kDraws`: not
/// only to nearest.
template <class Q, bool kDraws>
struct ExtremeLanes {
    VU marks;    ///< bits of all deltas: all zero but for signs where untouched
    VU largest;  ///< largest magnitude, as bits
    VF min;
    VF max;
    VF change;
    hn::Mask<F> untouched;  ///< where an element has been untouched

    // Written out: a generated constructor would not be compiled for the target.
    HWY_INLINE ExtremeLanes() {
        const F df;
        const U du;
        marks = hn::Zero(du);
        largest = hn::Zero(du);
        min = hn::Set(df, std::numeric_limits<float>::infinity());
        max = hn::Neg(min);
        change = hn::Zero(df);
        untouched = hn::Gt(change, change);  // nowhere
    }

    HWY_INLINE void take(const NewLanes& fresh, VF old) {
        const F df;
        marks = hn::Or(marks, fresh.marks);
        largest = hn::Max(largest, magnitude_bits(fresh.w));
        if constexpr (!Q::symmetric) {
            min = hn::Min(min, fresh.w);
            max = hn::Max(max, fresh.w);
        }
        if constexpr (kDraws) {
            change = hn::Max(change, hn::Abs(hn::Sub(fresh.w, old)));
            untouched = hn::Or(untouched, hn::RebindMask(df, is_untouched(fresh.marks)));
        }
    }

    /// The end of a group joins every lane.
    HWY_INLINE void take(const GroupExtremes& end) {
        const F df;
        const U du;
        const float larger = HWY_MAX(std::fabs(end.min), std::fabs(end.max));
        largest = hn::Max(
            largest, hn::Set(du, end.finite ? kernels::magnitude_bits(larger) : infinity_bits));
        min = hn::Min(min, hn::Set(df, end.min));
        max = hn::Max(max, hn::Set(df, end.max));
        change = hn::Max(change, hn::Set(df, end.max_change));
    }

    [[nodiscard]] HWY_INLINE bool any_touched() const {
        return !hn::AllTrue(U(), is_untouched(marks));
    }
    [[nodiscard]] HWY_INLINE bool all_touched() const { return hn::AllFalse(F(), untouched); }
};

/// A batch of groups on its way through the three steps of encoding.
struct Batch {
    // Extremes before they are reduced: a vector for each group.
    alignas(64) float min_lanes[groups_at_once * panel_width];  // unless symmetric
    alignas(64) float max_lanes[groups_at_once * panel_width];  // of magnitudes where symmetric
    alignas(64) float change_lanes[groups_at_once * panel_width];
    // One number for each group.
    alignas(64) float old_scale[groups_at_once];
    alignas(64) float scale[groups_at_once];
    alignas(64) float inv[groups_at_once];
    alignas(64) std::uint32_t stochastic[groups_at_once];  // all ones or zero, as the next two
    alignas(64) std::uint32_t kept[groups_at_once];
    alignas(64) std::uint32_t storable[groups_at_once];
    bool touched[groups_at_once];  // any element
    bool full[groups_at_once];     // every element
};

/// The size of blocks that this project writes gets code of its own, in which the compiler knows
/// it.
constexpr std::size_t kUsualBlock = 32;
constexpr std::size_t kAnySize = 0;

template <std::size_t kSize>
HWY_INLINE std::size_t group_size(const GroupTile& tile) {
    return kSize == kAnySize ? tile.group_size : kSize;
}

/// First step: the new values of group `g`, number `i` of the batch, in `w`, and their extremes;
/// `largest` grows with them.
template <class Q, Deltas kDeltas, bool kDraws, std::size_t kSize>
HWY_INLINE void scan_group(const GroupTile& tile, std::size_t g, float* HWY_RESTRICT w,
                           Batch& batch, std::size_t i, VU& largest) {
    const F df;
    const std::size_t lanes = hn::Lanes(df);
    const std::size_t count = group_size<kSize>(tile);
    const std::size_t first = g * count;
    const DenseOperand operand = first_operand<kDeltas>(tile);
    // A value that is given and not compared with the old one needs none.
    constexpr bool kOld = kDeltas != Deltas::added || kDraws;
    const std::int8_t* codes = kOld ? tile.old_codes + first : nullptr;
    const auto scale = hn::Set(df, kOld ? load_f32(tile.old_scales, g) : 0.0F);
    ExtremeLanes<Q, kDraws> all;
    std::size_t j = 0;
    for (; j + lanes <= count; j += lanes) {
        VF old = hn::Zero(df);
        if constexpr (kOld) old = decoded(codes + j, scale);
        const NewLanes fresh = new_lanes<kDeltas>(tile, operand, old, first + j);
        if constexpr (kDeltas != Deltas::added) hn::StoreU(fresh.w, df, w + j);
        all.take(fresh, old);
    }
    bool any = all.any_touched();
    bool full = all.all_touched();
    if (j < count) {
        GroupExtremes end;
        for (; j < count; ++j) {
            const TileElement element = new_element(tile, first + j);
            if constexpr (kDeltas != Deltas::added) w[j] = element.w;
            end.take(element.w, element.old);
            any = any || element.touched;
            full = full && element.touched;
        }
        all.take(end);
    }
    largest = hn::Max(largest, all.largest);
    batch.touched[i] = any;
    batch.full[i] = full;
    if constexpr (Q::symmetric) {
        hn::Store(hn::BitCast(df, all.largest), df, batch.max_lanes + i * lanes);
    } else {
        hn::Store(all.min, df, batch.min_lanes + i * lanes);
        hn::Store(all.max, df, batch.max_lanes + i * lanes);
    }
    if constexpr (kDraws) hn::Store(all.change, df, batch.change_lanes + i * lanes);
}

/// Reduces the lanes of as many groups as a vector has, one result a lane, in order.
template <class Reduce>
HWY_INLINE VF reduce_groups(const float* lanes_of_groups, const Reduce& reduce) {
    const F df;
    constexpr std::size_t kLanes = hn::MaxLanes(F());
    VF v[kLanes];
    for (std::size_t i = 0; i < kLanes; ++i)
        v[i] = hn::Load(df, lanes_of_groups + i * kLanes);
    for (std::size_t count = kLanes; count > 1; count /= 2) {
        for (std::size_t i = 0; i < count / 2; ++i) {
            v[i] = reduce(hn::ConcatEven(df, v[2 * i + 1], v[2 * i]),
                          hn::ConcatOdd(df, v[2 * i + 1], v[2 * i]));
        }
    }
    return v[0];
}

/// Second step, `decide` for a vector of groups from number `i` on.
template <class Q, bool kDraws>
HWY_INLINE void decide_groups(Batch& batch, std::size_t i, RoundingMode mode) {
    const F df;
    const U du;
    const std::size_t lanes = hn::Lanes(df);
    const auto zero = hn::Zero(df);
    const auto smaller = [](VF a, VF b) HWY_ATTR { return hn::Min(a, b); };
    const auto larger = [](VF a, VF b) HWY_ATTR { return hn::Max(a, b); };
    const auto max = reduce_groups(batch.max_lanes + i * lanes, larger);
    auto min = hn::Neg(max);
    VF scale;
    if constexpr (Q::symmetric) {
        scale = hn::Div(max, hn::Set(df, Q::hi));
    } else {
        min = reduce_groups(batch.min_lanes + i * lanes, smaller);
        scale = hn::Max(hn::Div(hn::Max(zero, max), hn::Set(df, Q::hi)),
                        hn::Div(hn::Max(zero, hn::Neg(min)), hn::Set(df, -Q::lo)));
    }
    scale = hn::Max(scale, hn::Set(df, smallest_scale));
    if constexpr (kDraws) {
        const auto old_scale = hn::Load(df, batch.old_scale + i);
        const auto change = reduce_groups(batch.change_lanes + i * lanes, larger);
        const auto weak = hn::Lt(change, hn::Mul(hn::Set(df, 0.75F), old_scale));
        const auto stochastic = mode == RoundingMode::stochastic ? hn::Eq(zero, zero) : weak;
        const auto inside = hn::And(hn::Le(hn::Mul(hn::Set(df, Q::lo), old_scale), min),
                                    hn::Le(max, hn::Mul(hn::Set(df, Q::hi), old_scale)));
        const auto kept = hn::And(stochastic, inside);
        scale = hn::IfThenElse(kept, old_scale, scale);
        hn::Store(hn::BitCast(du, hn::VecFromMask(df, stochastic)), du, batch.stochastic + i);
        hn::Store(hn::BitCast(du, hn::VecFromMask(df, kept)), du, batch.kept + i);
    }
    hn::Store(scale, df, batch.scale + i);
    hn::Store(hn::Div(hn::Set(df, 1.0F), scale), df, batch.inv + i);
    const auto storable = hn::Lt(scale, hn::Set(df, Q::bound));
    hn::Store(hn::BitCast(du, hn::VecFromMask(df, storable)), du, batch.storable + i);
}

inline VU mix_lanes(VU z) {
    const U du;
    z = hn::Xor(z, hn::ShiftRight<16>(z));
    z = hn::Mul(z, hn::Set(du, 0x7feb352dU));
    z = hn::Xor(z, hn::ShiftRight<15>(z));
    z = hn::Mul(z, hn::Set(du, 0x846ca68bU));
    return hn::Xor(z, hn::ShiftRight<16>(z));
}

/// `uniform` of some elements with the same upper half of their indexes.
class UniformLanes {
public:
    HWY_INLINE UniformLanes(std::uint64_t key, std::uint64_t first) {
        const U du;
        k0_ = hn::Set(du, static_cast<std::uint32_t>(key));
        k1_ = hn::Set(du, static_cast<std::uint32_t>(key >> 32));
        high_ = hn::Set(du, static_cast<std::uint32_t>(first >> 32) * 0x9e3779b9U);
        // Iota from a constant: from a variable it is built in memory, lane by lane.
        low_ = hn::Add(hn::Iota(du, 0), hn::Set(du, static_cast<std::uint32_t>(first)));
    }

    /// Those of the next elements.
    HWY_INLINE VF next() {
        const F df;
        const U du;
        const auto h = mix_lanes(hn::Add(hn::Xor(mix_lanes(hn::Xor(low_, k0_)), k1_), high_));
        low_ = hn::Add(low_, hn::Set(du, static_cast<std::uint32_t>(hn::Lanes(du))));
        const auto bits = hn::BitCast(I(), hn::ShiftRight<8>(h));  // below 2^24: exact as f32
        return hn::Mul(hn::ConvertTo(df, bits), hn::Set(df, 0x1p-24F));
    }

private:
    VU k0_;
    VU k1_;
    VU high_;
    VU low_;
};

/// The nearest whole number of |x| < 2^22, ties to even: adding 1.5 * 2^23 leaves it in the low
/// bits of the sum.
HWY_INLINE hn::Vec<I> nearest_code(VF x) {
    const F df;
    const I di;
    const auto magic = hn::Set(df, 0x1.8p23F);
    return hn::Sub(hn::BitCast(di, hn::Add(x, magic)), hn::BitCast(di, magic));
}

/// With a scale fitted to the group no code can pass its bounds, and nothing is infinite.
HWY_INLINE void encode_nearest(const float* HWY_RESTRICT w, float inv, std::size_t count,
                               std::int8_t* HWY_RESTRICT codes) {
    const F df;
    const I8 d8;
    const std::size_t lanes = hn::Lanes(df);
    const auto vi = hn::Set(df, inv);
    std::size_t j = 0;
    for (; j + lanes <= count; j += lanes) {
        const auto code = nearest_code(hn::Mul(hn::LoadU(df, w + j), vi));
        hn::StoreU(hn::DemoteTo(d8, code), d8, codes + j);
    }
    for (; j < count; ++j)
        codes[j] = static_cast<std::int8_t>(std::nearbyintf(w[j] * inv));
}

/// The codes of x whole numbers, given as floats next to the bounds at most.
template <class Q>
HWY_INLINE hn::Vec<I8> clamped_codes(hn::Vec<I> x) {
    const I di;
    x = hn::Max(x, hn::Set(di, static_cast<std::int32_t>(Q::lo)));
    // DemoteTo stops at 127.
    if constexpr (Q::hi < 127) x = hn::Min(x, hn::Set(di, static_cast<std::int32_t>(Q::hi)));
    return hn::DemoteTo(I8(), x);
}

/// Codes of x, each rounded up with the probability of its fraction.
template <class Q>
HWY_INLINE hn::Vec<I8> drawn_codes(VF x, UniformLanes& uniform) {
    const I di;
    const auto floor = hn::Floor(x);
    const auto up = hn::RebindMask(di, hn::Lt(uniform.next(), hn::Sub(x, floor)));
    return clamped_codes<Q>(hn::Sub(hn::ConvertTo(di, floor), hn::VecFromMask(di, up)));
}

/// Codes of a group all of whose elements are touched, but for those behind the last whole vector;
/// `index` is that of the first. Returns how many are done.
template <class Q>
HWY_INLINE std::size_t draw_all(const float* HWY_RESTRICT w, float inv, std::uint64_t key,
                                std::uint64_t index, std::size_t count,
                                std::int8_t* HWY_RESTRICT codes) {
    const F df;
    const std::size_t lanes = hn::Lanes(df);
    const auto vi = hn::Set(df, inv);
    UniformLanes uniform(key, index);
    std::size_t j = 0;
    for (; j + lanes <= count; j += lanes) {
        const auto x = hn::Mul(hn::LoadU(df, w + j), vi);
        hn::StoreU(drawn_codes<Q>(x, uniform), I8(), codes + j);
    }
    return j;
}

/// The same of a group that has untouched elements.
template <class Q, Deltas kDeltas>
std::size_t draw_touched(const GroupRounding& rounding, const GroupTile& shared,
                         const float* HWY_RESTRICT w, std::size_t first) {
    const F df;
    const I di;
    const I8 d8;
    const std::size_t lanes = hn::Lanes(df);
    // Copies: what is stored through `codes` could otherwise change the originals.
    const GroupTile tile = shared;
    const DenseOperand operand = first_operand<kDeltas>(tile);
    const bool kept = rounding.scale_kept;
    const auto inv = hn::Set(df, rounding.inv);
    const std::int8_t* old_codes = tile.old_codes + first;
    std::int8_t* HWY_RESTRICT codes = tile.codes + first;
    UniformLanes uniform(tile.key, tile.first_element + first);
    std::size_t j = 0;
    for (; j + lanes <= tile.group_size; j += lanes) {
        const auto x = hn::Mul(hn::LoadU(df, w + j), inv);
        const auto drawn = drawn_codes<Q>(x, uniform);
        const auto still = kept ? hn::LoadU(d8, old_codes + j) : clamped_codes<Q>(nearest_code(x));
        // Deltas again: cheaper than to have kept them.
        const NewLanes fresh = new_lanes<kDeltas>(tile, operand, hn::Zero(df), first + j);
        const auto none = hn::RebindMask(di, is_untouched(fresh.marks));
        const auto code = hn::IfThenElse(none, hn::PromoteTo(di, still), hn::PromoteTo(di, drawn));
        hn::StoreU(hn::DemoteTo(d8, code), d8, codes + j);
    }
    return j;
}

/// Whether the vector code can draw for a group: not where the low halves of its indexes wrap, nor
/// where a kept scale is so small that 1/scale is infinite, as 0 * inf is not a number.
inline bool can_draw(const GroupRounding& rounding, const GroupTile& tile, std::size_t first) {
    const std::uint64_t index = tile.first_element + first;
    return is_finite(rounding.inv) && index >> 32 == (index + tile.group_size - 1) >> 32;
}

/// Where the batch has a value that is not finite: which of its groups is the first.
std::size_t first_bad_group(const float* w, std::size_t size, std::size_t count) {
    const auto* bytes = reinterpret_cast<const std::byte*>(w);
    return first_non_finite(bytes, count * size) / size;
}

/// Elements that are encoded between two looks ahead.
constexpr std::size_t encoded_at_once = 256;

/// While a batch is encoded nothing is read: time to fetch what the next one needs, the deltas from
/// element `at` on.
HWY_INLINE void fetch_deltas(const GroupTile& tile, std::size_t at, std::size_t count) {
    constexpr std::size_t line = 64;
    for (const DenseOperand& operand : tile.operands) {
        if (!operand.streamed) continue;
        // The last batch looks past the end, which does no harm; the address is a number here.
        const auto begin = reinterpret_cast<std::uintptr_t>(operand.values) + at * sizeof(float);
        for (std::size_t byte = 0; byte < count * sizeof(float); byte += line) {
            __builtin_prefetch(reinterpret_cast<const void*>(begin + byte), 0, 2);
        }
    }
}

/// Codes of a touched group that is not rounded to nearest, number `i` of the batch.
template <class Q, Deltas kDeltas, std::size_t kSize>
HWY_INLINE void draw_group(const GroupTile& tile, std::size_t first, const float* w,
                           const Batch& batch, std::size_t i) {
    const std::size_t size = group_size<kSize>(tile);
    const GroupRounding rounding{batch.scale[i], batch.inv[i], true, batch.kept[i] != 0, true};
    std::size_t done = 0;
    if (HWY_LIKELY(can_draw(rounding, tile, first))) {
        done = batch.full[i] ? draw_all<Q>(w, rounding.inv, tile.key, tile.first_element + first,
                                           size, tile.codes + first)
                             : draw_touched<Q, kDeltas>(rounding, tile, w, first);
    }
    for (; done < size; ++done)
        tile.codes[first + done] = round_element<Q>(rounding, tile, first + done);
}

/// Third step: scale and codes of group `g`, number `i` of the batch.
template <class Q, Deltas kDeltas, bool kDraws, std::size_t kSize>
HWY_INLINE void encode_group(const GroupTile& tile, std::size_t g, const float* w,
                             const Batch& batch, std::size_t i) {
    const std::size_t size = group_size<kSize>(tile);
    const std::size_t first = g * size;
    if (HWY_UNLIKELY(!batch.touched[i])) {
        std::memcpy(tile.codes + first, tile.old_codes + first, size);
        std::memcpy(tile.scales + 4 * g, tile.old_scales + 4 * g, 4);
        return;
    }
    store_f32(tile.scales, g, batch.scale[i]);
    const std::size_t ahead = first + batch_groups(size) * size;
    if (kDraws && batch.stochastic[i] != 0) {
        fetch_deltas(tile, ahead, size);
        draw_group<Q, kDeltas, kSize>(tile, first, w, batch, i);
        return;
    }
    for (std::size_t j = 0; j < size; j += encoded_at_once) {
        const std::size_t count = HWY_MIN(encoded_at_once, size - j);
        fetch_deltas(tile, ahead + j, count);
        encode_nearest(w + j, batch.inv[i], count, tile.codes + first + j);
    }
}

/// Batch by batch in three steps: side by side, the reductions and divisions of many small groups
/// overlap.
template <class Q, Deltas kDeltas, bool kDraws, std::size_t kSize>
std::size_t encode_groups(const GroupTile& tile) {
    const U du;
    const std::size_t lanes = hn::Lanes(du);
    const std::size_t size = group_size<kSize>(tile);
    const std::size_t most = batch_groups(size);
    Batch batch;
    for (std::size_t begin = 0; begin < tile.groups; begin += most) {
        const std::size_t count = HWY_MIN(most, tile.groups - begin);
        const float* w = kDeltas == Deltas::added ? tile.w + begin * size : tile.buffer;
        auto largest = hn::Zero(du);  // magnitude of all groups together, as bits
        for (std::size_t i = 0; i < count; ++i) {
            float* made = tile.buffer == nullptr ? nullptr : tile.buffer + i * size;
            scan_group<Q, kDeltas, kDraws, kSize>(tile, begin + i, made, batch, i, largest);
        }
        std::size_t good = count;
        if (HWY_UNLIKELY(largest_of(largest, 0) >= infinity_bits)) {
            good = first_bad_group(w, size, count);
        }

        const std::size_t padded = (count + lanes - 1) / lanes * lanes;
        for (std::size_t i = count * lanes; i < padded * lanes; ++i) {
            batch.min_lanes[i] = batch.max_lanes[i] = batch.change_lanes[i] = 0.0F;
        }
        for (std::size_t i = 0; kDraws && i < padded; ++i) {
            batch.old_scale[i] = i < count ? load_f32(tile.old_scales, begin + i) : 0.0F;
        }
        for (std::size_t i = 0; i < padded; i += lanes)
            decide_groups<Q, kDraws>(batch, i, tile.mode);

        for (std::size_t i = 0; i < count; ++i) {
            const bool storable = i < good && (!batch.touched[i] || batch.storable[i] != 0);
            if (HWY_UNLIKELY(!storable)) return begin + i;
            encode_group<Q, kDeltas, kDraws, kSize>(tile, begin + i, w + i * size, batch, i);
        }
    }
    return tile.groups;
}

template <class Q, Deltas kDeltas, std::size_t kSize = kAnySize>
std::size_t encode_by_mode(const GroupTile& tile) {
    return tile.mode == RoundingMode::nearest ? encode_groups<Q, kDeltas, false, kSize>(tile)
                                              : encode_groups<Q, kDeltas, true, kSize>(tile);
}

template <class Q>
std::size_t encode(const GroupTile& tile) {
    if (tile.w != nullptr) return encode_by_mode<Q, Deltas::added>(tile);
    if (!Q::symmetric && tile.operands.size() == 1 && tile.group_size == kUsualBlock) {
        return encode_by_mode<Q, Deltas::one, kUsualBlock>(tile);
    }
    return tile.operands.size() == 1 ? encode_by_mode<Q, Deltas::one>(tile)
                                     : encode_by_mode<Q, Deltas::many>(tile);
}

#if HWY_HAVE_FLOAT64

using D = hn::CappedTag<double, 8>;  // survival keeps eight partial sums
using HalfF = hn::Rebind<float, D>;
using VD = hn::Vec<D>;

constexpr std::size_t kDoubles = hn::MaxLanes(D());

HWY_INLINE VD no_doubles() {
    return hn::Zero(D());
}
HWY_INLINE VD lower_doubles(VF v) {
    return hn::PromoteTo(D(), hn::LowerHalf(HalfF(), v));
}
HWY_INLINE VD upper_doubles(VF v) {
    return hn::PromoteTo(D(), hn::UpperHalf(HalfF(), v));
}
HWY_INLINE VD larger_magnitude(VD magnitude, VD v) {
    return hn::Max(magnitude, hn::Abs(v));
}
HWY_INLINE void store_doubles(VD v, double* p) {
    hn::StoreU(v, D(), p);
}

#else  // WebAssembly, as Highway 1.0 has it, and 32-bit Arm: with the compiler's own vectors

using VD = double __attribute__((vector_size(2 * sizeof(double))));

constexpr std::size_t kDoubles = 2;
static_assert(hn::MaxLanes(F()) == 2 * kDoubles);

HWY_INLINE VD no_doubles() {
    return VD{0, 0};
}
HWY_INLINE VD lower_doubles(VF v) {
    float lanes[2 * kDoubles];
    hn::StoreU(v, F(), lanes);
    return VD{lanes[0], lanes[1]};
}
HWY_INLINE VD upper_doubles(VF v) {
    float lanes[2 * kDoubles];
    hn::StoreU(v, F(), lanes);
    return VD{lanes[2], lanes[3]};
}
HWY_INLINE VD larger_magnitude(VD magnitude, VD v) {
    const VD other = {std::fabs(v[0]), std::fabs(v[1])};
    return other > magnitude ? other : magnitude;
}
HWY_INLINE void store_doubles(VD v, double* p) {
    std::memcpy(p, &v, sizeof v);
}

#endif  // HWY_HAVE_FLOAT64

/// Eight partial sums over the columns j mod 8, kept in as many vectors as they need.
struct PartialSums {
    static constexpr std::size_t kVectors = SurvivalSums::width / kDoubles;
    VD part[kVectors];

    HWY_INLINE PartialSums() {
        for (VD& p : part)
            p = no_doubles();
    }

    HWY_INLINE void add(std::size_t v, VD a, VD b) { part[v] = part[v] + a * b; }

    HWY_INLINE void store(double (&sums)[SurvivalSums::width]) const {
        for (std::size_t v = 0; v < kVectors; ++v)
            store_doubles(part[v], sums + v * kDoubles);
    }
};

/// Where the stored values of a tile lie.
enum class Stored { f32, codes };

/// Survival of elements that share their scales, added up vector by vector.
template <Stored kStored>
class SurvivalLanes {
public:
    HWY_INLINE SurvivalLanes() {
        largest_ = no_doubles();
        touched_ = hn::Zero(U());
        changed_ = touched_;
    }

    /// The `count` elements from `at` on, the first of column `column`; both that and `count` are
    /// multiples of `step()`.
    HWY_INLINE void add(const GroupTile& tile, std::size_t at, std::size_t column,
                        std::size_t count) {
        const F df;
        const U du;
        const std::size_t lanes = hn::Lanes(df);
        auto old_scale = hn::Zero(df);
        auto scale = old_scale;
        if constexpr (kStored == Stored::codes) {
            old_scale = hn::Set(df, load_f32(tile.old_scales, at / tile.group_size));
            scale = hn::Set(df, load_f32(tile.scales, at / tile.group_size));
        }
        const bool added = tile.w != nullptr;
        const bool one = tile.operands.size() == 1;
        const DenseOperand operand = tile.operands.empty() ? DenseOperand{} : tile.operands[0];
        for (const std::size_t end = at + count; at < end; at += lanes, column += lanes) {
            VF old;
            if constexpr (kStored == Stored::codes) {
                old = decoded(tile.old_codes + at, old_scale);
            } else {
                old = hn::LoadU(df, floats(tile.old_values + at * sizeof(float)));
            }
            const NewLanes fresh = added ? new_lanes<Deltas::added>(tile, operand, old, at)
                                   : one ? new_lanes<Deltas::one>(tile, operand, old, at)
                                         : new_lanes<Deltas::many>(tile, operand, old, at);
            VF decoded_new = fresh.w;  // f32 stores what was computed
            if constexpr (kStored == Stored::codes) decoded_new = decoded(tile.codes + at, scale);
            const auto ones = hn::Set(du, 1U);
            const auto marks = hn::And(fresh.marks, hn::Set(du, 0x7fffffffU));
            const auto difference = hn::Xor(hn::BitCast(du, old), hn::BitCast(du, decoded_new));
            touched_ = hn::Add(touched_, hn::Min(marks, ones));
            changed_ = hn::Add(changed_, hn::Min(difference, ones));
            add_half(part_of(column), lower_doubles(old), lower_doubles(fresh.w),
                     lower_doubles(decoded_new));
            add_half(part_of(column + lanes / 2), upper_doubles(old), upper_doubles(fresh.w),
                     upper_doubles(decoded_new));
        }
    }

    /// How many elements at a time.
    static constexpr std::size_t step() {
        constexpr std::size_t lanes = hn::MaxLanes(F());
        return lanes > SurvivalSums::width ? lanes : SurvivalSums::width;
    }

    /// Hands over what was gathered to sums that have nothing yet.
    HWY_INLINE void store(SurvivalSums& sums) const {
        intended_squared_.store(sums.intended_squared);
        if constexpr (kStored == Stored::codes) {
            intended_effective_.store(sums.intended_effective);
            effective_squared_.store(sums.effective_squared);
            error_squared_.store(sums.error_squared);
        } else {  // f32 stores what was intended
            intended_squared_.store(sums.intended_effective);
            intended_squared_.store(sums.effective_squared);
        }
        const U du;
        double largest[kDoubles];
        store_doubles(largest_, largest);
        sums.row.max_abs_delta = *std::max_element(largest, largest + kDoubles);
        sums.row.touched = hn::GetLane(hn::SumOfLanes(du, touched_));
        sums.row.changed = hn::GetLane(hn::SumOfLanes(du, changed_));
    }

private:
    /// The vector of partial sums that the elements from `column` on belong to.
    static HWY_INLINE std::size_t part_of(std::size_t column) {
        return column % SurvivalSums::width / kDoubles;
    }

    HWY_INLINE void add_half(std::size_t part, VD old, VD w, VD decoded_new) {
        const auto i = w - old;
        largest_ = larger_magnitude(largest_, i);
        intended_squared_.add(part, i, i);
        if constexpr (kStored == Stored::codes) {
            const auto e = decoded_new - old;
            const auto r = e - i;
            intended_effective_.add(part, i, e);
            effective_squared_.add(part, e, e);
            error_squared_.add(part, r, r);
        }
    }

    PartialSums intended_effective_;
    PartialSums intended_squared_;
    PartialSums effective_squared_;
    PartialSums error_squared_;
    VD largest_;
    VU touched_;
    VU changed_;
};

template <Stored kStored>
RowSurvival survival_of(const GroupTile& tile, std::size_t row, std::size_t cols) {
    constexpr std::size_t step = SurvivalLanes<kStored>::step();
    const std::size_t first = row * cols;
    // Stretches that share a scale: the whole row, or the blocks of a q4_0 row.
    const std::size_t stretch =
        kStored == Stored::codes && tile.group_size < cols ? tile.group_size : cols;
    // A stretch must not split a vector, and lanes count up to 2^32 - 1.
    if ((stretch < cols && stretch % step != 0) || cols > 0xffffffffU) {
        return scalar_table().survival(tile, row, cols);
    }
    SurvivalLanes<kStored> lanes;
    for (std::size_t j = 0; j + stretch <= cols; j += stretch) {
        lanes.add(tile, first + j, j, stretch - stretch % step);
    }
    SurvivalSums sums;
    lanes.store(sums);
    for (std::size_t j = cols - cols % step; j < cols; ++j) {
        const TileElement element = finished_element(tile, first + j);
        sums.add(j, element.old, element.w, element.decoded, element.touched);
    }
    return sums.fold();
}

RowSurvival survival(const GroupTile& tile, std::size_t row, std::size_t cols) {
    return tile.old_values != nullptr ? survival_of<Stored::f32>(tile, row, cols)
                                      : survival_of<Stored::codes>(tile, row, cols);
}

const Table& table() {
    static constexpr Table table{
        .name = {},  // filled in by `available`, which knows the target
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

#endif  // SIMD

}  // namespace HWY_NAMESPACE
}  // namespace trlm::adapt::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trlm::adapt::kernels {
namespace {

HWY_EXPORT(table);

/// The table of one target, by a dispatcher of our own: Highway's is global state.
const Table& table_of(std::int64_t target) {
    constexpr std::size_t targets =
        sizeof(HWY_DISPATCH_TABLE(table)) / sizeof(HWY_DISPATCH_TABLE(table)[0]);
    if constexpr (targets == 1) return HWY_DISPATCH_TABLE(table)[0]();
    hwy::ChosenTarget chosen;
    chosen.Update(target);
    return HWY_DISPATCH_TABLE(table)[chosen.GetIndex()]();
}

/// Every table that this CPU can run. Nothing is allocated for them.
struct Available {
    static constexpr std::size_t most = 64;  // a bit of the supported targets each
    std::array<Table, most> owned{};         // copies that carry their target's name
    std::array<const Table*, most + 1> tables{};
    std::size_t count = 0;

    Available() noexcept {
        for (std::int64_t rest = HWY_SUPPORTED_TARGETS & HWY_TARGETS; rest != 0; rest &= rest - 1) {
            const std::int64_t target = rest & -rest;  // the lowest bit is the best target
            Table& table = owned[count];
            table = table_of(target);
            if (table.encode_q8 == scalar_table().encode_q8) continue;
            table.name = hwy::TargetName(target);
            tables[count] = &table;
            ++count;
        }
        tables[count] = &scalar_table();
        ++count;
    }
};

}  // namespace

std::span<const Table* const> available() noexcept {
    static const Available all;
    return {all.tables.data(), all.count};
}

const Table* find(std::string_view name) {
    if (name.empty()) return &best();
    for (const Table* table : available()) {
        if (table->name == name) return table;
    }
    return nullptr;
}

}  // namespace trlm::adapt::kernels
#endif  // HWY_ONCE
