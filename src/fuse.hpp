#pragma once
// One tensor, tile by tile: decode, add every delta of the stack, check, encode, measure.

#include <cstdint>
#include <optional>
#include <span>

#include "buffer.hpp"
#include "kernels/kernels.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/rounding.hpp"

namespace trlm::adapt {

/// A run of whole rows that is worked on while it is in the cache.
struct Tile {
    std::uint64_t first_row = 0;
    std::uint64_t rows = 0;
};

/// A tile's bytes before its change.
struct OldTile {
    const std::byte* payload = nullptr;
    const std::byte* scales = nullptr;
};

/// Where its new bytes go: elsewhere, or in the place of the old ones.
struct NewTile {
    std::byte* payload = nullptr;  ///< aligned for f32
    std::byte* scales = nullptr;
};

/// What became of a tile.
struct TileOutcome {
    /// First element (f32), row (q8_0) or block (q4_0) of the tensor that cannot be stored.
    std::optional<std::uint64_t> bad;
    bool changed = false;  ///< a stored byte differs from the base's
    /// The caller's room for the tile's rows, needed when survival is asked for.
    kernels::RowSurvival* rows = nullptr;
    std::uint64_t measured = 0;  ///< rows in it: none of a tile that no delta touches
};

class TensorFuser;

/// Buffers of one worker, reused from tile to tile and from tensor to tensor.
struct FuseScratch {
    Buffer<float> w;
    Buffer<float> deltas;  // low-rank and bitmask ones, written out
    Buffer<float> expanded;
    Buffer<kernels::LowRankOperand> low_rank;
    Buffer<kernels::DenseOperand> dense;
    Buffer<std::uint32_t> indexes;  // of a bitmask's bits
    Buffer<std::uint32_t> touched;
    Buffer<std::int8_t> old_codes;  // q4_0, one byte each
    Buffer<std::int8_t> codes;
    Buffer<std::byte> scales;  // new ones, where they replace the old ones
    Buffer<std::byte> before;  // f32 values, where they are replaced
    Buffer<float> decoded;     // old values of a promoted tensor

    /// Makes room for the tiles of a tensor, beside what there is. False when memory runs out.
    [[nodiscard]] bool reserve(const TensorFuser& fuser, const Allocator& allocator) noexcept;
};

/// A planned tensor, prepared for the kernels. Immutable: tiles may be fused concurrently.
class TensorFuser {
public:
    TensorFuser() = default;

    /// What `deltas` point to must outlive the object; of `tensor` nothing but its description is
    /// used. `storage` is how the new values are stored: as the old ones, or more finely. False
    /// when memory runs out.
    [[nodiscard]] bool prepare(const TensorView& tensor, const TensorStorage& storage,
                               std::span<const PlannedDelta> deltas, const Rounding& rounding,
                               bool survival, const kernels::Table& kernels,
                               const Allocator& allocator = {}) noexcept;

    /// The new tensor, without its bytes.
    [[nodiscard]] const TensorView& tensor() const noexcept { return result_; }

    /// Whole tensor, cut into tiles in row order.
    [[nodiscard]] std::uint64_t tile_count() const noexcept;
    [[nodiscard]] Tile tile(std::uint64_t index) const noexcept;

    /// Bytes of a tile's new payload and of its scales.
    [[nodiscard]] std::size_t payload_bytes(const Tile& tile) const noexcept;
    [[nodiscard]] std::size_t scale_bytes(const Tile& tile) const noexcept;

    /// The tile of a tensor that lies in one piece as `prepare` was told.
    [[nodiscard]] OldTile old_tile(const Tile& tile, const std::byte* payload,
                                   const std::byte* scales) const noexcept;

    /// Computes the tile's new bytes with scratch that has room for it. `outcome.changed` is judged
    /// only with `watch_changes`.
    void fuse(const Tile& tile, const OldTile& old, FuseScratch& scratch, const NewTile& fused,
              bool watch_changes, TileOutcome& outcome) const noexcept;

    /// Bytes from the start of the payload to the first row of a tile.
    [[nodiscard]] std::size_t payload_offset(const Tile& tile) const noexcept {
        return payload_bytes({0, tile.first_row});
    }

    /// The same for the scales.
    [[nodiscard]] std::size_t scale_offset(const Tile& tile) const noexcept {
        return scale_bytes({0, tile.first_row});
    }

private:
    friend struct FuseScratch;

    struct Operand {
        Delta delta;
        float strength = 1;
        Buffer<float> packed_a;               // low-rank
        Buffer<std::uint64_t> values_before;  // bitmask: values before each stretch of bits
        bool expanded = false;  // a bitmask dense enough to be written out, zeros and all
    };

    /// Whether the operand is added element by element.
    [[nodiscard]] static bool is_scattered(const Operand& operand) noexcept;
    [[nodiscard]] static bool is_low_rank(const Operand& operand) noexcept;
    [[nodiscard]] static bool is_bitmask(const Operand& operand) noexcept;
    /// Whether each delta takes a pass of its own over values that stay in the cache.
    [[nodiscard]] bool goes_delta_by_delta() const noexcept;
    [[nodiscard]] std::uint64_t group_size() const noexcept;
    [[nodiscard]] bool touches(const Operand& operand, const Tile& tile) const noexcept;
    [[nodiscard]] kernels::LowRankOperand low_rank_operand(const Operand& operand,
                                                           const Tile& tile) const noexcept;
    [[nodiscard]] kernels::DenseOperand dense_operand(const Operand& operand, const Tile& tile,
                                                      float* room) const noexcept;
    [[nodiscard]] std::uint64_t values_before(const Operand& operand,
                                              std::uint64_t element) const noexcept;
    [[nodiscard]] std::uint32_t scatter(const Operand& operand, const Tile& tile,
                                        FuseScratch& scratch, float* w,
                                        std::uint32_t* touched) const noexcept;
    [[nodiscard]] std::uint64_t add_all(const Tile& tile, FuseScratch& scratch, float* w,
                                        std::uint32_t* touched) const noexcept;
    void fuse_f32(const Tile& tile, const std::byte* old, FuseScratch& scratch, std::byte* payload,
                  TileOutcome& outcome) const noexcept;
    void fuse_quantized(const Tile& tile, const OldTile& old, FuseScratch& scratch,
                        const NewTile& fused, bool watch_changes,
                        TileOutcome& outcome) const noexcept;
    void make_dense(const Tile& tile, FuseScratch& scratch) const noexcept;
    [[nodiscard]] std::span<const kernels::DenseOperand> dense_operands(
        const FuseScratch& scratch) const noexcept;
    void decode(const Tile& tile, const OldTile& old, FuseScratch& scratch) const noexcept;
    void fuse_promoted(const Tile& tile, const OldTile& old, FuseScratch& scratch,
                       const NewTile& fused, bool watch_changes,
                       TileOutcome& outcome) const noexcept;
    void encode_promoted(const Tile& tile, FuseScratch& scratch, const NewTile& fused,
                         bool watch_changes, TileOutcome& outcome) const noexcept;
    void measure(const Tile& tile, const kernels::GroupTile& group, const kernels::Table& kernels,
                 TileOutcome& outcome) const noexcept;

    TensorView view_;    // without bytes
    TensorView result_;  // without bytes
    bool promoted_ = false;
    const kernels::Table* kernels_ = nullptr;
    RoundingMode mode_ = RoundingMode::nearest;
    std::uint64_t key_ = 0;  // of the random numbers: XXH3-64 of seed and name hash
    bool survival_ = false;
    std::uint64_t rows_ = 0;
    std::uint64_t cols_ = 0;
    std::uint64_t tile_rows_ = 1;
    Buffer<Operand> operands_;
    std::size_t scattered_ = 0;  // operands of that sort
    std::size_t low_rank_ = 0;
};

}  // namespace trlm::adapt
