#pragma once
// The arithmetic of docs/formats.md section 4, once per instruction set. Dispatch is a table of
// function pointers that a caller takes once, outside its loops. Every table gives the same bits;
// the calling thread must be inside an FpEnvironment.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "trlm/adapt/rounding.hpp"

namespace trlm::adapt::kernels {

/// Columns of a packed panel of A (see `LowRankOperand`).
inline constexpr std::size_t panel_width = 16;

/// A low-rank delta c * B * A, with A packed so that a kernel reads it contiguously.
struct LowRankOperand {
    const float* packed_a = nullptr;  ///< [panels][rank][panel_width], zero past the last column
    std::size_t rank = 0;
    std::size_t cols = 0;
    float c = 0;  ///< fl(strength * scale)
};

/// `groups` groups of `group_size` contiguous elements, each with a scale of its own: rows of a
/// q8_0 tensor or blocks of a q4_0 one.
struct EncodeTile {
    const float* w = nullptr;    ///< new values, all groups
    const float* old = nullptr;  ///< decoded old values; may be null for nearest
    const std::uint32_t* touched =
        nullptr;                            ///< all ones where a delta is nonzero; null: everywhere
    const std::byte* old_codes = nullptr;   ///< may be null when `touched` is
    const std::byte* old_scales = nullptr;  ///< may be null when `touched` is
    std::byte* codes = nullptr;
    std::byte* scales = nullptr;
    std::size_t groups = 0;
    std::size_t group_size = 0;
    std::uint64_t first_element = 0;  ///< flat index in the tensor of w[0]
    RoundingMode mode = RoundingMode::nearest;
    std::uint64_t key = 0;  ///< XXH3-64 of seed and name hash
};

/// Sums over a row, in the order that docs/formats.md fixes.
struct RowSurvival {
    double intended_effective = 0;
    double intended_squared = 0;
    double effective_squared = 0;
    double error_squared = 0;
    double max_abs_delta = 0;
    std::uint64_t touched = 0;
    std::uint64_t changed = 0;
};

/// One implementation of all kernels. Pointers to file bytes may have any alignment.
struct Table {
    std::string_view name;  ///< "AVX2", ..., "scalar"

    /// Index of the first of `count` f32 that is NaN or infinite, or `count`.
    std::size_t (*first_non_finite)(const std::byte* values, std::size_t count);

    /// Index of the first of `count` f32 that is not in (0, bound), or `count`.
    std::size_t (*first_bad_scale)(const std::byte* scales, std::size_t count, float bound);

    /// w = code * scale, group by group.
    void (*decode_q8)(const std::byte* codes, const std::byte* scales, std::size_t groups,
                      std::size_t group_size, float* w);
    void (*decode_q4)(const std::byte* codes, const std::byte* scales, std::size_t groups,
                      std::size_t group_size, float* w);

    /// w += strength * value where that delta is not zero; marks these in `touched` unless null.
    void (*add_dense)(const std::byte* values, float strength, std::size_t count, float* w,
                      std::uint32_t* touched);

    /// w [rows, cols] += c * B * A likewise; `b` is [rows, rank] f32.
    void (*add_low_rank)(const LowRankOperand& operand, const std::byte* b, std::size_t rows,
                         float* w, std::uint32_t* touched);

    /// Encodes; a group without a touched element keeps its bytes. Returns the index of the first
    /// group with a value that is not finite or a scale out of bounds, or `groups`.
    std::size_t (*encode_q8)(const EncodeTile& tile);
    std::size_t (*encode_q4)(const EncodeTile& tile);

    /// Survival of one row: old, new (before encoding) and decoded new values.
    RowSurvival (*survival)(const float* old, const float* w, const float* decoded,
                            const std::uint32_t* touched, std::size_t cols);
};

/// All implementations that this CPU can run, best first, plain scalar C++ last.
[[nodiscard]] const std::vector<const Table*>& available();

/// The implementation of that name (empty: the best); nullptr when there is none.
[[nodiscard]] const Table* find(std::string_view name);

/// The best one.
[[nodiscard]] inline const Table& best() {
    return *available().front();
}

/// Plain C++.
[[nodiscard]] const Table& scalar_table();

/// Packs A [rank, cols] (any alignment) into panels.
[[nodiscard]] std::vector<float> pack_panels(const std::byte* a, std::size_t rank,
                                             std::size_t cols);

}  // namespace trlm::adapt::kernels
