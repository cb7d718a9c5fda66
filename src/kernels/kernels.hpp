#pragma once
// The arithmetic of docs/formats.md section 4, once per instruction set. Dispatch is a table of
// function pointers that a caller takes once, outside its loops. Every table gives the same bits;
// the calling thread must be inside an FpEnvironment.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "trlm/adapt/rounding.hpp"

namespace trlm::adapt::kernels {

/// Bits of infinity: magnitudes from here on are not finite.
inline constexpr std::uint32_t infinity_bits = 0x7f800000U;

/// Columns of a packed panel of A (see `LowRankOperand`).
inline constexpr std::size_t panel_width = 16;

/// The most rows that low-rank kernels work on at once. Tiles had better have a multiple of them.
inline constexpr std::size_t low_rank_rows_at_once = 8;

/// A low-rank delta c * B * A, with A packed so that a kernel reads it contiguously.
struct LowRankOperand {
    const float* packed_a = nullptr;  ///< [panels][rank][panel_width], zero past the last column
    const std::byte* b = nullptr;     ///< [rows, rank] f32 of the tile's rows
    std::size_t rank = 0;
    float c = 0;  ///< fl(strength * scale)
};

/// Values to be added with a strength: a dense delta, or a low-rank one already multiplied out.
struct DenseOperand {
    const std::byte* values = nullptr;  ///< f32 of the tile's elements
    float strength = 1;
    bool streamed = false;  ///< comes from memory, and so do the next tile's, which lie behind it
};

/// Part of a tensor on its way from old values to new ones.
///
/// Quantized: `groups` groups of `group_size` contiguous elements, each with a scale of its own:
/// rows of a q8_0 tensor or blocks of a q4_0 one. Codes are one i8 each; q4_0 is unpacked before
/// and packed after. f32: `old_values`, one group; what is stored is what was computed.
///
/// Promoted: `old_values` and `codes`, which only the plain kernel for survival takes.
///
/// The deltas are `operands`; or, where a delta is sparse, they have been added to `w` and marked
/// in `touched` already.
struct GroupTile {
    const std::byte* old_values = nullptr;  ///< f32
    const std::int8_t* old_codes = nullptr;
    const std::byte* old_scales = nullptr;
    std::int8_t* codes = nullptr;
    std::byte* scales = nullptr;
    std::size_t groups = 0;
    std::size_t group_size = 0;
    std::uint64_t first_element = 0;  ///< flat index in the tensor of the first one
    RoundingMode mode = RoundingMode::nearest;
    std::uint64_t key = 0;  ///< XXH3-64 of seed and name hash

    std::span<const DenseOperand> operands;
    float* buffer = nullptr;  ///< room for `buffer_elements(group_size)` values

    const float* w = nullptr;                ///< new values; null: from old ones and operands
    const std::uint32_t* touched = nullptr;  ///< all ones where a delta is nonzero; null, for
                                             ///< nearest only: everywhere
};

/// Groups that a kernel works on side by side, and the room that it needs for their values.
inline constexpr std::size_t groups_at_once = 64;
inline constexpr std::size_t elements_at_once = 2048;
[[nodiscard]] constexpr std::size_t batch_groups(std::size_t group_size) {
    const std::size_t groups = elements_at_once / group_size;
    return groups < 1 ? 1 : groups < groups_at_once ? groups : groups_at_once;
}
[[nodiscard]] constexpr std::size_t buffer_elements(std::size_t group_size) {
    return batch_groups(group_size) * group_size;
}

/// Room for the indexes of the bits of `bytes` bytes: some are written before it is known that they
/// are none.
[[nodiscard]] constexpr std::size_t index_room(std::size_t bytes) {
    return 8 * bytes + 4;
}

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

    /// Bits of the largest magnitude of `count` f32: 0x7f800000 or more where one is not finite.
    std::uint32_t (*max_magnitude)(const std::byte* values, std::size_t count);

    /// Index of the first of `count` f32 that is not in (0, bound), or `count`.
    std::size_t (*first_bad_scale)(const std::byte* scales, std::size_t count, float bound);

    /// Codes of q4_0 to one i8 each and back; `count` is even.
    void (*unpack_nibbles)(const std::byte* packed, std::size_t count, std::int8_t* codes);
    void (*pack_nibbles)(const std::int8_t* codes, std::size_t count, std::byte* packed);

    /// w = code * scale, group by group.
    void (*decode)(const std::int8_t* codes, const std::byte* scales, std::size_t groups,
                   std::size_t group_size, float* w);

    /// w += strength * value where that delta is not zero; marks these in `touched` unless null.
    /// Returns the bits of the largest magnitude of the new w.
    std::uint32_t (*add_dense)(const DenseOperand& operand, std::size_t count, float* w,
                               std::uint32_t* touched);

    /// w [rows, cols] += c * B * A likewise, operand after operand.
    std::uint32_t (*add_low_rank)(std::span<const LowRankOperand> operands, std::size_t rows,
                                  std::size_t cols, float* w, std::uint32_t* touched);

    /// delta [rows, cols] = c * B * A.
    void (*multiply_low_rank)(const LowRankOperand& operand, std::size_t rows, std::size_t cols,
                              float* delta);

    /// How many bits of `bytes` bytes are set.
    std::uint64_t (*count_bits)(const std::byte* mask, std::size_t bytes);

    /// The indexes of the set bits, ascending; bit i % 8 of byte i / 8 has index i. Returns how
    /// many there are. `indexes` has room for `index_room(bytes)`.
    std::size_t (*find_bits)(const std::byte* mask, std::size_t bytes, std::uint32_t* indexes);

    /// values[i] = the next of `stored` where bit i of `mask` is set, else 0, for `count` elements;
    /// `readable` stored values may be read. Returns how many were taken.
    std::size_t (*expand_bits)(const std::byte* mask, std::size_t count, const std::byte* stored,
                               std::size_t readable, float* values);

    /// Encodes every group; one without a touched element keeps its codes and scale. Returns the
    /// index of the first group with a value that is not finite or a scale out of bounds, or
    /// `groups`.
    std::size_t (*encode_q8)(const GroupTile& tile);
    std::size_t (*encode_q4)(const GroupTile& tile);

    /// Survival of row `row` of a tile of rows of `cols` elements, after its encoding.
    RowSurvival (*survival)(const GroupTile& tile, std::size_t row, std::size_t cols);
};

/// All implementations that this CPU can run, best first, plain scalar C++ last.
[[nodiscard]] std::span<const Table* const> available() noexcept;

/// The implementation of that name (empty: the best); nullptr when there is none.
[[nodiscard]] const Table* find(std::string_view name);

/// The best one.
[[nodiscard]] inline const Table& best() {
    return *available().front();
}

/// Plain C++.
[[nodiscard]] const Table& scalar_table();

/// Values that A [rank, cols] takes when it is packed.
[[nodiscard]] constexpr std::size_t packed_elements(std::size_t rank, std::size_t cols) {
    return (cols + panel_width - 1) / panel_width * panel_width * rank;
}

/// Packs A (any alignment) into panels.
void pack_panels(const std::byte* a, std::size_t rank, std::size_t cols, float* packed) noexcept;

}  // namespace trlm::adapt::kernels
