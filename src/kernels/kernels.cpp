// The kernels once for every instruction set that Highway compiles for here. This file is compiled
// several times (foreach_target); the part under HWY_ONCE only once.

#include "kernels/kernels.hpp"

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
using D = hn::CappedTag<double, 8>;  // survival keeps eight partial sums
using HalfF = hn::Rebind<float, D>;
using HalfU = hn::Rebind<std::uint32_t, D>;
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

std::size_t first_non_finite(const std::byte* values, std::size_t count) {
    const F df;
    const U du;
    const std::size_t lanes = hn::Lanes(df);
    const auto limit = hn::Set(du, 0x7f7fffffU);  // the largest finite magnitude
    // Blocks of eight vectors are judged together; the first bad block is searched one by one.
    const std::size_t block = 8 * lanes;
    std::size_t i = 0;
    for (; i + block <= count; i += block) {
        const float* p = floats(values + i * sizeof(float));
        auto largest = magnitude_bits(hn::LoadU(df, p));
        for (std::size_t v = 1; v < 8; ++v) {
            largest = hn::Max(largest, magnitude_bits(hn::LoadU(df, p + v * lanes)));
        }
        if (!hn::AllFalse(du, hn::Gt(largest, limit))) break;
    }
    for (; i < count; ++i) {
        if (!is_finite(load_f32(values, i))) return i;
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

inline VF decoded(const std::int8_t* codes, VF scale) {
    return hn::Mul(hn::ConvertTo(F(), hn::PromoteTo(I(), hn::LoadU(I8(), codes))), scale);
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

/// w where delta is zero, w + delta elsewhere; marks the latter.
template <bool kTouched>
inline VF added(VF w, VF delta, std::uint32_t* touched) {
    const F df;
    const U du;
    const auto none = hn::Eq(delta, hn::Zero(df));
    if constexpr (kTouched) {
        const auto mark = hn::VecFromMask(du, hn::RebindMask(du, hn::Not(none)));
        hn::StoreU(hn::Or(hn::LoadU(du, touched), mark), du, touched);
    }
    return hn::IfThenElse(none, w, hn::Add(w, delta));
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

template <bool kTouched>
void add_dense_impl(const DenseOperand& operand, std::size_t count, float* HWY_RESTRICT w,
                    std::uint32_t* HWY_RESTRICT touched) {
    const F df;
    const std::size_t lanes = hn::Lanes(df);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        hn::StoreU(added<kTouched>(hn::LoadU(df, w + i), dense_delta(operand, i),
                                   touched + (kTouched ? i : 0)),
                   df, w + i);
    }
    for (; i < count; ++i) {
        add_one(dense_delta_one(operand, i), w[i], kTouched ? touched + i : nullptr);
    }
}

void add_dense(const DenseOperand& operand, std::size_t count, float* w, std::uint32_t* touched) {
    if (touched != nullptr) {
        add_dense_impl<true>(operand, count, w, touched);
    } else {
        add_dense_impl<false>(operand, count, w, nullptr);
    }
}

/// What becomes of a low-rank delta: stored as it is, added, or added and marked.
enum class Epilogue { store, add, add_and_mark };

template <Epilogue kEpilogue>
inline void finish_delta(VF delta, float* out, std::uint32_t* marks) {
    const F df;
    if constexpr (kEpilogue == Epilogue::store) {
        hn::StoreU(delta, df, out);
    } else {
        hn::StoreU(added<kEpilogue == Epilogue::add_and_mark>(hn::LoadU(df, out), delta, marks), df,
                   out);
    }
}

/// kRows rows times one whole panel of columns. The sums stay in registers.
template <Epilogue kEpilogue, std::size_t kRows>
HWY_INLINE void low_rank_tile(const float* HWY_RESTRICT a, const std::byte* b, std::size_t rank,
                              float c, float* w, std::uint32_t* touched, std::size_t stride) {
    const F df;
    const std::size_t lanes = hn::Lanes(df);
    constexpr std::size_t kVectors = panel_width / hn::MaxLanes(F());
    VF sum[kRows][kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
        const auto va = hn::LoadU(df, a + v * lanes);
        for (std::size_t i = 0; i < kRows; ++i) {
            sum[i][v] = hn::Mul(hn::Set(df, load_f32(b, i * rank)), va);
        }
    }
    for (std::size_t k = 1; k < rank; ++k) {
        const float* row = a + k * panel_width;
        VF va[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v)
            va[v] = hn::LoadU(df, row + v * lanes);
        for (std::size_t i = 0; i < kRows; ++i) {
            const auto vb = hn::Set(df, load_f32(b, i * rank + k));
            for (std::size_t v = 0; v < kVectors; ++v) {
                sum[i][v] = hn::Add(sum[i][v], hn::Mul(vb, va[v]));
            }
        }
    }
    const auto vc = hn::Set(df, c);
    for (std::size_t i = 0; i < kRows; ++i) {
        for (std::size_t v = 0; v < kVectors; ++v) {
            const std::size_t at = i * stride + v * lanes;
            finish_delta<kEpilogue>(hn::Mul(vc, sum[i][v]), w + at, touched + at);
        }
    }
}

/// A whole panel of all rows, kRows at a time.
template <Epilogue kEpilogue>
void low_rank_panel(const LowRankOperand& operand, std::size_t panel, const std::byte* b,
                    std::size_t rows, float* w, std::uint32_t* touched, std::size_t stride) {
    constexpr std::size_t kRows = 4;
    const float* a = operand.packed_a + panel * panel_width * operand.rank;
    const std::size_t b_row = operand.rank * sizeof(float);
    std::size_t i = 0;
    for (; i + kRows <= rows; i += kRows) {
        low_rank_tile<kEpilogue, kRows>(a, b + i * b_row, operand.rank, operand.c, w + i * stride,
                                        touched + i * stride, stride);
    }
    for (; i < rows; ++i) {
        low_rank_tile<kEpilogue, 1>(a, b + i * b_row, operand.rank, operand.c, w + i * stride,
                                    touched + i * stride, stride);
    }
}

/// The columns that do not fill a panel, row by row over a panel of their own.
template <Epilogue kEpilogue>
void low_rank_edge(const LowRankOperand& operand, std::size_t panel, const std::byte* b,
                   std::size_t rows, float* w, std::uint32_t* touched) {
    const std::size_t first = panel * panel_width;
    const std::size_t width = operand.cols - first;
    for (std::size_t i = 0; i < rows; ++i) {
        alignas(64) float edge[panel_width] = {};
        alignas(64) std::uint32_t marks[panel_width] = {};
        float* row = w + i * operand.cols + first;
        std::uint32_t* row_marks = touched + i * operand.cols + first;
        std::memcpy(edge, row, width * sizeof *edge);
        if constexpr (kEpilogue == Epilogue::add_and_mark) {
            std::memcpy(marks, row_marks, width * sizeof *marks);
        }
        low_rank_panel<kEpilogue>(operand, panel, b + i * operand.rank * sizeof(float), 1, edge,
                                  marks, panel_width);
        std::memcpy(row, edge, width * sizeof *edge);
        if constexpr (kEpilogue == Epilogue::add_and_mark) {
            std::memcpy(row_marks, marks, width * sizeof *marks);
        }
    }
}

template <Epilogue kEpilogue>
void low_rank(const LowRankOperand& operand, const std::byte* b, std::size_t rows, float* w,
              std::uint32_t* touched) {
    const std::size_t panels = operand.cols / panel_width;
    for (std::size_t panel = 0; panel < panels; ++panel) {
        const std::size_t first = panel * panel_width;
        low_rank_panel<kEpilogue>(operand, panel, b, rows, w + first, touched + first,
                                  operand.cols);
    }
    if (operand.cols % panel_width != 0) {
        low_rank_edge<kEpilogue>(operand, panels, b, rows, w, touched);
    }
}

/// A pointer that takes part in the arithmetic on pointers but is never read or written.
inline std::uint32_t* unmarked(float* w) {
    return reinterpret_cast<std::uint32_t*>(w);
}

void add_low_rank(const LowRankOperand& operand, const std::byte* b, std::size_t rows, float* w,
                  std::uint32_t* touched) {
    if (touched != nullptr) {
        low_rank<Epilogue::add_and_mark>(operand, b, rows, w, touched);
    } else {
        low_rank<Epilogue::add>(operand, b, rows, w, unmarked(w));
    }
}

void multiply_low_rank(const LowRankOperand& operand, const std::byte* b, std::size_t rows,
                       float* delta) {
    low_rank<Epilogue::store>(operand, b, rows, delta, unmarked(delta));
}

using MF = hn::Mask<F>;

/// Which of the elements from `at` on a delta that is not zero falls on.
template <bool kGiven>
inline MF touched_lanes(const GroupTile& tile, std::size_t at) {
    const F df;
    const U du;
    if constexpr (kGiven) {
        return hn::RebindMask(df, hn::Ne(hn::LoadU(du, tile.touched + at), hn::Zero(du)));
    } else {
        auto touched = hn::Ne(dense_delta(tile.operands[0], at), hn::Zero(df));
        for (std::size_t i = 1; i < tile.operands.size(); ++i) {
            touched = hn::Or(touched, hn::Ne(dense_delta(tile.operands[i], at), hn::Zero(df)));
        }
        return touched;
    }
}

template <bool kGiven>
bool is_touched(const GroupTile& tile, std::size_t at) {
    if constexpr (kGiven) return tile.touched == nullptr || tile.touched[at] != 0;
    for (const DenseOperand& operand : tile.operands) {
        if (dense_delta_one(operand, at) != 0.0F) return true;
    }
    return false;
}

/// A group's new values, and what rounding needs to know of them.
struct Group {
    const float* w = nullptr;
    GroupExtremes extremes;
    bool touched = false;
};

/// Running extremes of a group, a vector wide.
struct ExtremeLanes {
    VU marks;    ///< bits of all deltas: all zero but for signs where untouched
    VU largest;  ///< largest magnitude, as bits
    VF change;
    VF min;
    VF max;

    // Written out: a generated constructor would not be compiled for the target.
    HWY_INLINE ExtremeLanes() {
        const F df;
        const U du;
        marks = hn::Zero(du);
        largest = hn::Zero(du);
        change = hn::Zero(df);
        min = hn::Set(df, std::numeric_limits<float>::infinity());
        max = hn::Neg(min);
    }

    HWY_INLINE void take(VF w, VF old) {
        largest = hn::Max(largest, magnitude_bits(w));
        min = hn::Min(min, w);
        max = hn::Max(max, w);
        change = hn::Max(change, hn::Abs(hn::Sub(w, old)));
    }

    HWY_INLINE void store(Group& group) const {
        const F df;
        const U du;
        const auto magnitudes = hn::And(marks, hn::Set(du, 0x7fffffffU));
        group.touched = !hn::AllTrue(du, hn::Eq(magnitudes, hn::Zero(du)));
        group.extremes.finite = hn::AllFalse(du, hn::Gt(largest, hn::Set(du, 0x7f7fffffU)));
        group.extremes.min = hn::GetLane(hn::MinOfLanes(df, min));
        group.extremes.max = hn::GetLane(hn::MaxOfLanes(df, max));
        group.extremes.max_change = hn::GetLane(hn::MaxOfLanes(df, change));
    }
};

/// Adds the operands to w and the bits of their deltas to `marks`. kOne: there is just one.
template <bool kOne>
HWY_INLINE VF with_operands(VF w, const DenseOperand& first, const GroupTile& tile, std::size_t at,
                            VU& marks) {
    const F df;
    const U du;
    const auto zero = hn::Zero(df);
    const auto delta = dense_delta(first, at);
    marks = hn::Or(marks, hn::BitCast(du, delta));
    w = hn::IfThenElse(hn::Eq(delta, zero), w, hn::Add(w, delta));
    if constexpr (!kOne) {
        for (std::size_t i = 1; i < tile.operands.size(); ++i) {
            const auto next = dense_delta(tile.operands[i], at);
            marks = hn::Or(marks, hn::BitCast(du, next));
            w = hn::IfThenElse(hn::Eq(next, zero), w, hn::Add(w, next));
        }
    }
    return w;
}

/// Makes a group's new values from its codes and the operands.
template <bool kOne>
Group make_group(const GroupTile& tile, std::size_t g) {
    const F df;
    const std::size_t lanes = hn::Lanes(df);
    const std::size_t count = tile.group_size;
    const std::size_t first = g * count;
    const std::int8_t* codes = tile.old_codes + first;
    const DenseOperand operand = tile.operands[0];
    float* HWY_RESTRICT w = tile.group;
    const float scale = load_f32(tile.old_scales, g);
    const auto vs = hn::Set(df, scale);
    ExtremeLanes lanes_extremes;
    std::size_t j = 0;
    for (; j + lanes <= count; j += lanes) {
        const auto old = decoded(codes + j, vs);
        const auto fused = with_operands<kOne>(old, operand, tile, first + j, lanes_extremes.marks);
        hn::StoreU(fused, df, w + j);
        lanes_extremes.take(fused, old);
    }
    Group group;
    group.w = w;
    lanes_extremes.store(group);
    for (; j < count; ++j) {
        const float old = static_cast<float>(codes[j]) * scale;
        w[j] = old;
        for (const DenseOperand& each : tile.operands) {
            add_one(dense_delta_one(each, first + j), w[j], nullptr);
        }
        group.extremes.take(w[j], old);
        group.touched = group.touched || is_touched<false>(tile, first + j);
    }
    return group;
}

/// Looks at a group's new values where the tile has them.
Group look_at_group(const GroupTile& tile, std::size_t g) {
    const F df;
    const U du;
    const std::size_t lanes = hn::Lanes(df);
    const std::size_t count = tile.group_size;
    const std::size_t first = g * count;
    const float* w = tile.w + first;
    const float* old = tile.old == nullptr ? w : tile.old + first;
    ExtremeLanes lanes_extremes;
    std::size_t j = 0;
    for (; j + lanes <= count; j += lanes) {
        lanes_extremes.take(hn::LoadU(df, w + j), hn::LoadU(df, old + j));
        if (tile.touched != nullptr) {
            lanes_extremes.marks =
                hn::Or(lanes_extremes.marks, hn::LoadU(du, tile.touched + first + j));
        }
    }
    Group group;
    group.w = w;
    lanes_extremes.store(group);
    for (; j < count; ++j) {
        group.extremes.take(w[j], old[j]);
        group.touched = group.touched || is_touched<true>(tile, first + j);
    }
    group.touched = group.touched || tile.touched == nullptr;
    return group;
}

inline VU mix_lanes(VU z) {
    const U du;
    z = hn::Xor(z, hn::ShiftRight<16>(z));
    z = hn::Mul(z, hn::Set(du, 0x7feb352dU));
    z = hn::Xor(z, hn::ShiftRight<15>(z));
    z = hn::Mul(z, hn::Set(du, 0x846ca68bU));
    return hn::Xor(z, hn::ShiftRight<16>(z));
}

/// `uniform` of elements index, index + 1, ...
HWY_INLINE VF uniform_lanes(std::uint64_t key, std::uint64_t index) {
    const F df;
    const U du;
    const I di;
    const std::size_t lanes = hn::Lanes(df);
    const auto lo32 = static_cast<std::uint32_t>(index);
    if (HWY_UNLIKELY(lo32 > ~0U - lanes)) {  // the low half wraps inside the vector
        alignas(64) float buffer[panel_width];
        for (std::size_t i = 0; i < lanes; ++i)
            buffer[i] = uniform(key, index + i);
        return hn::Load(df, buffer);
    }
    const auto k0 = hn::Set(du, static_cast<std::uint32_t>(key));
    const auto k1 = hn::Set(du, static_cast<std::uint32_t>(key >> 32));
    const auto hi = hn::Set(du, static_cast<std::uint32_t>(index >> 32) * 0x9e3779b9U);
    // Iota from a constant: from a variable it is built in memory, lane by lane.
    const auto lane = hn::Add(hn::Iota(du, 0), hn::Set(du, lo32));
    const auto h = mix_lanes(hn::Add(hn::Xor(mix_lanes(hn::Xor(lane, k0)), k1), hi));
    const auto bits = hn::BitCast(di, hn::ShiftRight<8>(h));  // below 2^24: exact as f32
    return hn::Mul(hn::ConvertTo(df, bits), hn::Set(df, 0x1p-24F));
}

/// The nearest whole number of |x| < 2^22, ties to even: adding 1.5 * 2^23 leaves it in the low
/// bits of the sum.
HWY_INLINE hn::Vec<I> nearest_code(VF x) {
    const F df;
    const I di;
    const auto magic = hn::Set(df, 0x1.8p23F);
    return hn::Sub(hn::BitCast(di, hn::Add(x, magic)), hn::BitCast(di, magic));
}

/// With a scale fitted to the group no code can pass its bounds, and nothing is infinite.
void encode_nearest(const float* HWY_RESTRICT w, float inv, std::size_t count,
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

template <class Q>
HWY_INLINE hn::Vec<I> clamped_code(VF x) {
    const F df;
    return nearest_code(hn::Max(hn::Set(df, Q::lo), hn::Min(hn::Set(df, Q::hi), x)));
}

template <class Q, bool kGiven>
void encode_stochastic(const GroupRounding& rounding, const GroupTile& shared, const float* w,
                       std::size_t first) {
    const F df;
    const I di;
    const I8 d8;
    const std::size_t lanes = hn::Lanes(df);
    // Copies: what is stored through `codes` could otherwise change the originals.
    const GroupTile tile = shared;
    const bool kept = rounding.scale_kept;
    const auto inv = hn::Set(df, rounding.inv);
    const std::int8_t* old_codes = tile.old_codes + first;
    std::int8_t* HWY_RESTRICT codes = tile.codes + first;
    std::size_t j = 0;
    for (; j + lanes <= tile.group_size; j += lanes) {
        const auto scaled = hn::Mul(hn::LoadU(df, w + j), inv);
        // A kept scale can be so small that 1/scale is infinite; 0 * inf is code 0.
        const auto x = hn::IfThenElseZero(hn::Eq(scaled, scaled), scaled);
        const auto floor = hn::Floor(x);
        const auto up =
            hn::Lt(uniform_lanes(tile.key, tile.first_element + first + j), hn::Sub(x, floor));
        const auto drawn =
            clamped_code<Q>(hn::Add(floor, hn::IfThenElseZero(up, hn::Set(df, 1.0F))));
        const auto still =
            kept ? hn::PromoteTo(di, hn::LoadU(d8, old_codes + j)) : clamped_code<Q>(x);
        const auto touched = hn::RebindMask(di, touched_lanes<kGiven>(tile, first + j));
        hn::StoreU(hn::DemoteTo(d8, hn::IfThenElse(touched, drawn, still)), d8, codes + j);
    }
    for (; j < tile.group_size; ++j) {
        int code;
        if (is_touched<kGiven>(tile, first + j)) {
            code = round_stochastic<Q>(w[j], rounding.inv,
                                       uniform(tile.key, tile.first_element + first + j));
        } else {
            code = kept ? old_codes[j] : round_nearest<Q>(w[j], rounding.inv);
        }
        codes[j] = static_cast<std::int8_t>(code);
    }
}

template <class Q, bool kGiven, bool kOne>
std::size_t encode_groups(const GroupTile& tile) {
    for (std::size_t g = 0; g < tile.groups; ++g) {
        const std::size_t first = g * tile.group_size;
        Group group;
        if constexpr (kGiven) {
            group = look_at_group(tile, g);
        } else {
            group = make_group<kOne>(tile, g);
        }
        if (!group.touched) {
            std::memcpy(tile.codes + first, tile.old_codes + first, tile.group_size);
            std::memcpy(tile.scales + 4 * g, tile.old_scales + 4 * g, 4);
            continue;
        }
        const float old_scale =
            tile.mode == RoundingMode::nearest ? 0.0F : load_f32(tile.old_scales, g);
        const GroupRounding rounding = decide<Q>(group.extremes, tile.mode, old_scale);
        if (!rounding.storable) return g;
        store_f32(tile.scales, g, rounding.scale);
        if (rounding.stochastic) {
            encode_stochastic<Q, kGiven>(rounding, tile, group.w, first);
        } else {
            encode_nearest(group.w, rounding.inv, tile.group_size, tile.codes + first);
        }
    }
    return tile.groups;
}

template <class Q>
std::size_t encode(const GroupTile& tile) {
    if (tile.w != nullptr) return encode_groups<Q, true, false>(tile);
    return tile.operands.size() == 1 ? encode_groups<Q, false, true>(tile)
                                     : encode_groups<Q, false, false>(tile);
}

/// Eight partial sums over the columns j mod 8, kept in as many vectors as they need.
struct PartialSums {
    static constexpr std::size_t kVectors = 8 / hn::MaxLanes(D());
    hn::Vec<D> part[kVectors];

    PartialSums() {
        for (auto& p : part)
            p = hn::Zero(D());
    }

    /// ((p0+p1)+(p2+p3))+((p4+p5)+(p6+p7)), after adding the ends of the row to their partial sums.
    double fold(const double (&tail)[8], std::size_t tail_count) const {
        alignas(64) double p[8];
        for (std::size_t v = 0; v < kVectors; ++v)
            hn::Store(part[v], D(), p + v * hn::Lanes(D()));
        for (std::size_t j = 0; j < tail_count; ++j)
            p[j] = p[j] + tail[j];
        return ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));
    }
};

RowSurvival survival(const float* old, const float* w, const float* decoded,
                     const std::uint32_t* touched, std::size_t cols) {
    const D dd;
    const HalfF df;
    const HalfU du;
    const std::size_t lanes = hn::Lanes(dd);
    PartialSums intended_effective;
    PartialSums intended_squared;
    PartialSums effective_squared;
    PartialSums error_squared;
    auto largest = hn::Zero(dd);
    RowSurvival row;
    std::size_t j = 0;
    for (; j + 8 <= cols; j += 8) {
        for (std::size_t v = 0; v < PartialSums::kVectors; ++v) {
            const std::size_t at = j + v * lanes;
            const auto old_f = hn::LoadU(df, old + at);
            const auto decoded_f = hn::LoadU(df, decoded + at);
            const auto old_d = hn::PromoteTo(dd, old_f);
            const auto i = hn::Sub(hn::PromoteTo(dd, hn::LoadU(df, w + at)), old_d);
            const auto e = hn::Sub(hn::PromoteTo(dd, decoded_f), old_d);
            const auto r = hn::Sub(e, i);
            intended_effective.part[v] = hn::Add(intended_effective.part[v], hn::Mul(i, e));
            intended_squared.part[v] = hn::Add(intended_squared.part[v], hn::Mul(i, i));
            effective_squared.part[v] = hn::Add(effective_squared.part[v], hn::Mul(e, e));
            error_squared.part[v] = hn::Add(error_squared.part[v], hn::Mul(r, r));
            largest = hn::Max(largest, hn::Abs(i));
            const auto zero = hn::Zero(du);
            row.touched += hn::CountTrue(du, hn::Ne(hn::LoadU(du, touched + at), zero));
            row.changed +=
                hn::CountTrue(du, hn::Ne(hn::BitCast(du, decoded_f), hn::BitCast(du, old_f)));
        }
    }
    row.max_abs_delta = hn::GetLane(hn::MaxOfLanes(dd, largest));
    double tail[4][8] = {};
    std::size_t tail_count = 0;
    for (; j < cols; ++j, ++tail_count) {
        const double i = static_cast<double>(w[j]) - static_cast<double>(old[j]);
        const double e = static_cast<double>(decoded[j]) - static_cast<double>(old[j]);
        const double r = e - i;
        tail[0][tail_count] = i * e;
        tail[1][tail_count] = i * i;
        tail[2][tail_count] = e * e;
        tail[3][tail_count] = r * r;
        row.max_abs_delta = HWY_MAX(row.max_abs_delta, std::fabs(i));
        row.touched += touched[j] != 0 ? 1 : 0;
        row.changed += std::memcmp(decoded + j, old + j, sizeof(float)) != 0 ? 1 : 0;
    }
    row.intended_effective = intended_effective.fold(tail[0], tail_count);
    row.intended_squared = intended_squared.fold(tail[1], tail_count);
    row.effective_squared = effective_squared.fold(tail[2], tail_count);
    row.error_squared = error_squared.fold(tail[3], tail_count);
    return row;
}

const Table& table() {
    static constexpr Table table{
        .name = {},  // filled in by `available`, which knows the target
        .first_non_finite = first_non_finite,
        .first_bad_scale = first_bad_scale,
        .unpack_nibbles = unpack_nibbles,
        .pack_nibbles = pack_nibbles,
        .decode = decode,
        .add_dense = add_dense,
        .add_low_rank = add_low_rank,
        .multiply_low_rank = multiply_low_rank,
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

struct Available {
    std::vector<Table> owned;  // copies that carry their target's name
    std::vector<const Table*> tables;

    Available() {
        for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
            Table table = table_of(target);
            if (table.survival == scalar_table().survival) continue;
            table.name = hwy::TargetName(target);
            owned.push_back(table);
        }
        for (const Table& table : owned)
            tables.push_back(&table);
        tables.push_back(&scalar_table());
    }
};

}  // namespace

const std::vector<const Table*>& available() {
    static const Available all;
    return all.tables;
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
