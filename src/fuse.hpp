#pragma once
// One tensor, tile by tile: decode, add every delta of the stack, check, encode, measure.

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/kernels.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/rounding.hpp"

namespace trlm::adapt {

/// A run of whole rows that is worked on while it is in the cache.
struct Tile {
    std::uint64_t first_row = 0;
    std::uint64_t rows = 0;
};

/// What became of a tile.
struct TileOutcome {
    /// First element (f32), row (q8_0) or block (q4_0) of the tensor that cannot be stored.
    std::optional<std::uint64_t> bad;
    bool changed = false;                        ///< a stored byte differs from the base's
    std::vector<kernels::RowSurvival> survival;  ///< per row, when asked for and touched
};

/// Buffers of one worker, reused from tile to tile.
struct FuseScratch {
    std::vector<float> w;
    std::vector<float> deltas;  // low-rank and bitmask ones, written out
    std::vector<float> expanded;
    std::vector<kernels::LowRankOperand> low_rank;
    std::vector<std::uint32_t> indexes;  // of a bitmask's bits
    std::vector<std::uint32_t> touched;
    std::vector<std::int8_t> old_codes;  // q4_0, one byte each
    std::vector<std::int8_t> codes;
    std::vector<std::byte> scales;             // new ones, where they replace the old ones
    std::vector<std::byte> before;             // f32 values, where they are replaced
    std::vector<float> decoded;                // old values of a promoted tensor
    std::vector<std::byte> discarded_payload;  // where only a check is wanted
    std::vector<std::byte> discarded_scales;
    TileOutcome outcome;
    std::vector<kernels::DenseOperand> dense;
};

/// A planned tensor, prepared for the kernels. Immutable: tiles may be fused concurrently.
class TensorFuser {
public:
    /// `tensor` and what `deltas` point to must outlive the object. `storage` is how the new values
    /// are stored: as the old ones, or more finely.
    TensorFuser(const TensorView& tensor, const TensorStorage& storage,
                std::span<const PlannedDelta> deltas, const Rounding& rounding, bool survival,
                const kernels::Table& kernels);

    /// The new tensor, without its bytes.
    [[nodiscard]] const TensorView& tensor() const noexcept { return result_; }

    /// Whole tensor, cut into tiles in row order.
    [[nodiscard]] std::uint64_t tile_count() const noexcept;
    [[nodiscard]] Tile tile(std::uint64_t index) const noexcept;

    /// Bytes of a tile's new payload and of its scales.
    [[nodiscard]] std::size_t payload_bytes(const Tile& tile) const noexcept;
    [[nodiscard]] std::size_t scale_bytes(const Tile& tile) const noexcept;

    /// Writes the tile's new payload, aligned for f32, and its scales; both may be where the old
    /// ones lie. `outcome.changed` is judged only with `watch_changes`.
    void fuse(const Tile& tile, FuseScratch& scratch, std::byte* payload, std::byte* scales,
              bool watch_changes, TileOutcome& outcome) const;

    /// Bytes from the start of the payload to the first row of a tile.
    [[nodiscard]] std::size_t payload_offset(const Tile& tile) const noexcept {
        return payload_bytes({0, tile.first_row});
    }

    /// The same for the scales.
    [[nodiscard]] std::size_t scale_offset(const Tile& tile) const noexcept {
        return scale_bytes({0, tile.first_row});
    }

private:
    struct Operand {
        Delta delta;
        float strength = 1;
        std::vector<float> packed_a;               // low-rank
        std::vector<std::uint64_t> values_before;  // bitmask: values before each stretch of bits
        bool expanded = false;  // a bitmask dense enough to be written out, zeros and all
    };

    /// Whether the operand is added element by element.
    [[nodiscard]] static bool is_scattered(const Operand& operand) noexcept;
    [[nodiscard]] static bool is_low_rank(const Operand& operand) noexcept;
    [[nodiscard]] bool touches(const Operand& operand, const Tile& tile) const;
    [[nodiscard]] kernels::LowRankOperand low_rank_operand(const Operand& operand,
                                                           const Tile& tile) const noexcept;
    [[nodiscard]] kernels::DenseOperand dense_operand(const Operand& operand, const Tile& tile,
                                                      float* room) const;
    [[nodiscard]] std::uint64_t values_before(const Operand& operand, std::uint64_t element) const;
    [[nodiscard]] std::uint32_t scatter(const Operand& operand, const Tile& tile,
                                        FuseScratch& scratch, float* w,
                                        std::uint32_t* touched) const;
    [[nodiscard]] std::uint64_t add_all(const Tile& tile, FuseScratch& scratch, float* w,
                                        std::uint32_t* touched) const;
    void fuse_f32(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                  TileOutcome& outcome) const;
    void fuse_quantized(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                        std::byte* scales, bool watch_changes, TileOutcome& outcome) const;
    void make_dense(const Tile& tile, FuseScratch& scratch) const;
    void decode(const Tile& tile, FuseScratch& scratch) const;
    void fuse_promoted(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                       std::byte* scales, bool watch_changes, TileOutcome& outcome) const;
    void encode_promoted(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                         std::byte* scales, bool watch_changes, TileOutcome& outcome) const;
    void measure(const Tile& tile, const kernels::GroupTile& group, const kernels::Table& kernels,
                 TileOutcome& outcome) const;

    TensorView view_;
    TensorView result_;
    bool promoted_;
    const kernels::Table* kernels_;
    RoundingMode mode_;
    std::uint64_t key_;  ///< of the random numbers: XXH3-64 of seed and name hash
    bool survival_;
    std::uint64_t rows_;
    std::uint64_t cols_;
    std::uint64_t tile_rows_;
    std::vector<Operand> operands_;
    std::size_t scattered_ = 0;  // operands of that sort
    std::size_t low_rank_ = 0;
};

}  // namespace trlm::adapt
