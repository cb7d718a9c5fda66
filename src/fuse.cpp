#include "fuse.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

/// Elements of a tile: a few such f32 buffers stay in a second-level cache of 512 KiB.
constexpr std::uint64_t tile_elements = 16 * 1024;

/// Low-rank kernels work on this many rows at once.
constexpr std::uint64_t low_rank_rows_at_once = 4;

/// Bits of a mask between two remembered value positions.
constexpr std::uint64_t mask_stretch = 4096;

std::uint64_t random_key(std::uint64_t seed, std::uint64_t name_hash) {
    std::array<std::byte, 16> bytes;
    store(MutableBytes(bytes), 0, seed);
    store(MutableBytes(bytes), 8, name_hash);
    return xxh3_64(bytes);
}

/// For each stretch of a bitmask, how many of its bits are set before it.
std::vector<std::uint64_t> count_values(Bytes mask) {
    constexpr std::uint64_t stretch_bytes = mask_stretch / 8;
    std::vector<std::uint64_t> before;
    std::uint64_t total = 0;
    for (std::uint64_t i = 0; i < mask.size(); ++i) {
        if (i % stretch_bytes == 0) before.push_back(total);
        total += static_cast<std::uint64_t>(std::popcount(std::to_integer<std::uint8_t>(mask[i])));
    }
    return before;
}

/// Position in a sorted list of u32 of the first that is not below `index`.
std::uint64_t lower_bound_index(Bytes positions, std::uint64_t count, std::uint64_t index) {
    std::uint64_t first = 0;
    while (count > 0) {
        const std::uint64_t half = count / 2;
        if (load<std::uint32_t>(positions, 4 * (first + half)) < index) {
            first += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return first;
}

}  // namespace

TensorFuser::TensorFuser(const TensorView& tensor, std::span<const PlannedDelta> deltas,
                         const Rounding& rounding, bool survival, const kernels::Table& kernels)
    : view_(tensor),
      kernels_(&kernels),
      mode_(rounding.mode),
      key_(random_key(rounding.seed, view_.name_hash)),
      survival_(survival),
      rows_(view_.shape.rows()),
      cols_(view_.shape.cols()),
      tile_rows_(std::max<std::uint64_t>(1, tile_elements / cols_)) {
    for (const PlannedDelta& planned : deltas) {
        Operand operand{planned.delta, planned.strength, {}, {}};
        if (const auto* low_rank = std::get_if<LowRankDelta>(&planned.delta)) {
            operand.packed_a = kernels::pack_panels(low_rank->a.data(), low_rank->rank, cols_);
            tile_rows_ = std::max(tile_rows_, low_rank_rows_at_once);
        } else if (const auto* sparse = std::get_if<SparseDelta>(&planned.delta)) {
            ++sparse_operands_;
            if (sparse->encoding == SparseEncoding::bitmask) {
                operand.values_before = count_values(sparse->positions);
            }
        }
        operands_.push_back(std::move(operand));
    }
}

std::uint64_t TensorFuser::tile_count() const noexcept {
    return (rows_ + tile_rows_ - 1) / tile_rows_;
}

Tile TensorFuser::tile(std::uint64_t index) const noexcept {
    const std::uint64_t first = index * tile_rows_;
    return {first, std::min(tile_rows_, rows_ - first)};
}

std::size_t TensorFuser::payload_bytes(const Tile& tile) const noexcept {
    const std::uint64_t elements = tile.rows * cols_;
    switch (view_.dtype) {
        case Dtype::f32:
            return elements * sizeof(float);
        case Dtype::q8_0:
            return elements;
        case Dtype::q4_0:
            break;
    }
    return elements / 2;
}

std::size_t TensorFuser::scale_bytes(const Tile& tile) const noexcept {
    return view_.scales.size() / rows_ * tile.rows;
}

/// Calls visit(flat index, value) for each stored element of the tile, ascending, until it
/// returns false.
template <class Visit>
void TensorFuser::visit_sparse(const Operand& operand, const Tile& tile, const Visit& visit) const {
    const auto& sparse = std::get<SparseDelta>(operand.delta);
    const std::uint64_t begin = tile.first_row * cols_;
    const std::uint64_t end = begin + tile.rows * cols_;
    if (sparse.encoding == SparseEncoding::index_list) {
        for (std::uint64_t i = lower_bound_index(sparse.positions, sparse.count, begin);
             i < sparse.count; ++i) {
            const std::uint64_t index = load<std::uint32_t>(sparse.positions, 4 * i);
            if (index >= end || !visit(index, load<float>(sparse.values, 4 * i))) return;
        }
        return;
    }
    std::uint64_t stretch = begin / mask_stretch;
    std::uint64_t value = operand.values_before[stretch];
    for (std::uint64_t byte = stretch * mask_stretch / 8; byte * 8 < end; ++byte) {
        auto bits = std::to_integer<unsigned>(sparse.positions[byte]);
        for (; bits != 0; bits &= bits - 1, ++value) {
            const std::uint64_t index =
                byte * 8 + static_cast<std::uint64_t>(std::countr_zero(bits));
            if (index < begin) continue;
            if (index >= end || !visit(index, load<float>(sparse.values, 4 * value))) return;
        }
    }
}

bool TensorFuser::is_sparse(const Operand& operand) const noexcept {
    return std::holds_alternative<SparseDelta>(operand.delta);
}

bool TensorFuser::touches(const Operand& operand, const Tile& tile) const {
    if (!is_sparse(operand)) return true;
    bool found = false;
    visit_sparse(operand, tile, [&](std::uint64_t, float) {
        found = true;
        return false;
    });
    return found;
}

kernels::DenseOperand TensorFuser::dense_operand(const DenseDelta& delta, float strength,
                                                 const Tile& tile) const noexcept {
    return {delta.values.data() + tile.first_row * cols_ * sizeof(float), strength};
}

kernels::LowRankOperand TensorFuser::low_rank_operand(const Operand& operand) const noexcept {
    const auto& low_rank = std::get<LowRankDelta>(operand.delta);
    return {operand.packed_a.data(), low_rank.rank, cols_, operand.strength * low_rank.scale};
}

const std::byte* TensorFuser::low_rank_rows(const Operand& operand,
                                            const Tile& tile) const noexcept {
    const auto& low_rank = std::get<LowRankDelta>(operand.delta);
    return low_rank.b.data() + tile.first_row * low_rank.rank * sizeof(float);
}

void TensorFuser::add(const Operand& operand, const Tile& tile, float* w,
                      std::uint32_t* touched) const {
    if (const auto* dense = std::get_if<DenseDelta>(&operand.delta)) {
        kernels_->add_dense(dense_operand(*dense, operand.strength, tile), tile.rows * cols_, w,
                            touched);
    } else if (!is_sparse(operand)) {
        kernels_->add_low_rank(low_rank_operand(operand), low_rank_rows(operand, tile), tile.rows,
                               w, touched);
    } else {
        const std::uint64_t first = tile.first_row * cols_;
        visit_sparse(operand, tile, [&](std::uint64_t index, float value) {
            const float delta = operand.strength * value;
            if (delta != 0.0F) {
                w[index - first] = w[index - first] + delta;
                if (touched != nullptr) touched[index - first] = ~0U;
            }
            return true;
        });
    }
}

void TensorFuser::measure(const Tile& tile, const kernels::GroupTile& group,
                          TileOutcome& outcome) const {
    for (std::uint64_t row = 0; row < tile.rows; ++row) {
        outcome.survival.push_back(kernels_->survival(group, row, cols_));
    }
}

/// Only sparse deltas: only what they touch is looked at.
void TensorFuser::fuse_f32_sparse(const Tile& tile, float* w, TileOutcome& outcome) const {
    const std::uint64_t first = tile.first_row * cols_;
    for (const Operand& operand : operands_) {
        visit_sparse(operand, tile, [&](std::uint64_t index, float value) {
            const float delta = operand.strength * value;
            if (delta == 0.0F) return true;
            float& element = w[index - first];
            element = element + delta;
            // What is not finite stays so, whatever is added to it later.
            if (!std::isfinite(element)) {
                outcome.bad = std::min(outcome.bad.value_or(index), index);
            }
            return true;
        });
    }
}

void TensorFuser::fuse_f32(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                           TileOutcome& outcome) const {
    // The values are worked on where they will lie.
    auto* w = reinterpret_cast<float*>(payload);
    const std::uint64_t elements = tile.rows * cols_;
    if (!survival_ && sparse_operands_ == operands_.size()) {
        fuse_f32_sparse(tile, w, outcome);
        return;
    }
    kernels::GroupTile group;
    group.old_values = view_.payload.data() + payload_offset(tile);
    if (group.old_values == payload && survival_) group.old_values = scratch.before.data();
    group.values = payload;
    if (!survival_) {
        for (const Operand& operand : operands_)
            add(operand, tile, w, nullptr);
    } else if (sparse_operands_ == 0) {
        make_dense(tile, scratch);
        group.operands = scratch.dense;
        for (const kernels::DenseOperand& operand : scratch.dense) {
            kernels_->add_dense(operand, elements, w, nullptr);
        }
    } else {
        scratch.touched.assign(elements, 0);
        for (const Operand& operand : operands_)
            add(operand, tile, w, scratch.touched.data());
        group.w = w;
        group.touched = scratch.touched.data();
    }
    const std::uint64_t bad = kernels_->first_non_finite(payload, elements);
    if (bad < elements) {
        outcome.bad = tile.first_row * cols_ + bad;
        return;
    }
    if (survival_) measure(tile, group, outcome);
}

/// Every delta as plain values: the kernels then need one pass over the tile.
void TensorFuser::make_dense(const Tile& tile, FuseScratch& scratch) const {
    const std::uint64_t elements = tile.rows * cols_;
    std::size_t low_rank_operands = 0;
    for (const Operand& operand : operands_) {
        if (std::holds_alternative<LowRankDelta>(operand.delta)) ++low_rank_operands;
    }
    scratch.deltas.resize(low_rank_operands * elements);
    scratch.dense.clear();
    float* deltas = scratch.deltas.data();
    for (const Operand& operand : operands_) {
        if (const auto* dense = std::get_if<DenseDelta>(&operand.delta)) {
            scratch.dense.push_back(dense_operand(*dense, operand.strength, tile));
            continue;
        }
        kernels_->multiply_low_rank(low_rank_operand(operand), low_rank_rows(operand, tile),
                                    tile.rows, deltas);
        scratch.dense.push_back({reinterpret_cast<const std::byte*>(deltas), 1.0F});
        deltas += elements;
    }
}

/// New values and touched marks, by one pass for each delta.
void TensorFuser::make_values(const Tile& tile, FuseScratch& scratch,
                              kernels::GroupTile& group) const {
    const std::uint64_t elements = tile.rows * cols_;
    scratch.w.resize(elements);
    kernels_->decode(group.old_codes, group.old_scales, group.groups, group.group_size,
                     scratch.w.data());
    scratch.touched.assign(elements, 0);
    for (const Operand& operand : operands_) {
        add(operand, tile, scratch.w.data(), scratch.touched.data());
    }
    group.w = scratch.w.data();
    group.touched = scratch.touched.data();
}

void TensorFuser::fuse_quantized(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                                 std::byte* scales, bool watch_changes,
                                 TileOutcome& outcome) const {
    const bool q8 = view_.dtype == Dtype::q8_0;
    const std::uint64_t elements = tile.rows * cols_;
    const std::byte* old_payload = view_.payload.data() + payload_offset(tile);
    const std::size_t bytes = payload_bytes(tile);

    kernels::GroupTile group;
    group.group_size = q8 ? cols_ : view_.block_size;
    group.groups = elements / group.group_size;
    group.first_element = tile.first_row * cols_;
    group.mode = mode_;
    group.key = key_;
    const std::uint64_t first_group = group.first_element / group.group_size;
    group.old_scales = view_.scales.data() + scale_offset(tile);
    // What replaces old bytes is made beside them: until the tile is done they are still read.
    const std::size_t new_scale_bytes = scale_bytes(tile);
    scratch.scales.resize(new_scale_bytes);
    group.scales = scales == group.old_scales ? scratch.scales.data() : scales;
    const bool codes_in_place = q8 && payload != old_payload;
    scratch.codes.resize(elements);
    group.codes = codes_in_place ? reinterpret_cast<std::int8_t*>(payload) : scratch.codes.data();
    if (q8) {
        group.old_codes = reinterpret_cast<const std::int8_t*>(old_payload);
    } else {
        scratch.old_codes.resize(elements);
        kernels_->unpack_nibbles(old_payload, elements, scratch.old_codes.data());
        group.old_codes = scratch.old_codes.data();
    }
    if (sparse_operands_ > 0) {
        make_values(tile, scratch, group);
    } else {
        make_dense(tile, scratch);
        scratch.w.resize(kernels::buffer_elements(group.group_size));
        group.operands = scratch.dense;
        group.buffer = scratch.w.data();
    }
    const std::uint64_t stored = q8 ? kernels_->encode_q8(group) : kernels_->encode_q4(group);
    if (stored < group.groups) {
        outcome.bad = first_group + stored;
        return;
    }
    if (watch_changes) {
        outcome.changed = std::memcmp(group.scales, group.old_scales, new_scale_bytes) != 0 ||
                          std::memcmp(group.codes, group.old_codes, elements) != 0;
    }
    if (survival_) measure(tile, group, outcome);
    if (group.scales != scales) std::memcpy(scales, group.scales, new_scale_bytes);
    if (!q8) {
        kernels_->pack_nibbles(group.codes, elements, payload);
    } else if (!codes_in_place) {
        std::memcpy(payload, group.codes, bytes);
    }
}

void TensorFuser::fuse(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                       std::byte* scales, bool watch_changes, TileOutcome& outcome) const {
    outcome.bad.reset();
    outcome.changed = false;
    outcome.survival.clear();
    const std::size_t bytes = payload_bytes(tile);
    const std::byte* old_payload = view_.payload.data() + payload_offset(tile);
    const bool in_place = payload == old_payload;
    const bool f32 = view_.dtype == Dtype::f32;
    const bool untouched = std::ranges::none_of(
        operands_, [&](const Operand& operand) { return touches(operand, tile); });
    if ((untouched || f32) && !in_place) std::memcpy(payload, old_payload, bytes);
    if (untouched) {
        const std::byte* old_scales = view_.scales.data() + scale_offset(tile);
        if (!f32 && scales != old_scales) std::memcpy(scales, old_scales, scale_bytes(tile));
        return;
    }
    if (!f32) {
        fuse_quantized(tile, scratch, payload, scales, watch_changes, outcome);
        return;
    }
    const bool keep_old = in_place && (watch_changes || survival_);
    if (keep_old) scratch.before.assign(old_payload, old_payload + bytes);
    fuse_f32(tile, scratch, payload, outcome);
    if (watch_changes) {
        const std::byte* before = keep_old ? scratch.before.data() : old_payload;
        outcome.changed = std::memcmp(payload, before, bytes) != 0;
    }
}

}  // namespace trlm::adapt
