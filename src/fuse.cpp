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
constexpr std::uint64_t tile_elements = 16'384;

/// A scattered delta needs no buffers, so its tiles may be larger.
constexpr std::uint64_t scattered_tile_elements = 262'144;

/// Bits of a mask between two remembered value positions: a multiple of 64.
constexpr std::uint64_t mask_stretch = 4096;

/// A bitmask with at least one value in this many elements is cheaper to write out with its zeros.
constexpr std::uint64_t expand_below = 16;

/// How many elements ahead the target of a scattered delta is fetched.
constexpr std::uint64_t prefetch_ahead = 32;

std::uint64_t random_key(std::uint64_t seed, std::uint64_t name_hash) {
    std::array<std::byte, 16> bytes{};
    store(MutableBytes(bytes), 0, seed);
    store(MutableBytes(bytes), 8, name_hash);
    return xxh3_64(bytes);
}

/// 64 bits of a mask from bit 64 * `word` on; zeros past its end.
std::uint64_t mask_word(Bytes mask, std::uint64_t word) {
    const std::uint64_t at = word * 8;
    if (at + 8 <= mask.size()) return load<std::uint64_t>(mask, at);
    std::uint64_t bits = 0;
    if (at < mask.size()) std::memcpy(&bits, mask.data() + at, mask.size() - at);
    return bits;
}

/// For each stretch of a bitmask, how many of its bits are set before it.
std::vector<std::uint64_t> count_values(Bytes mask) {
    constexpr std::uint64_t words = mask_stretch / 64;
    std::vector<std::uint64_t> before;
    std::uint64_t total = 0;
    for (std::uint64_t word = 0; word * 8 < mask.size(); ++word) {
        if (word % words == 0) before.push_back(total);
        total += static_cast<std::uint64_t>(std::popcount(mask_word(mask, word)));
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
        Operand operand{planned.delta, planned.strength, {}, {}, false};
        if (const auto* low_rank = std::get_if<LowRankDelta>(&planned.delta)) {
            operand.packed_a = kernels::pack_panels(low_rank->a.data(), low_rank->rank, cols_);
            ++low_rank_;
        } else if (const auto* sparse = std::get_if<SparseDelta>(&planned.delta);
                   sparse != nullptr && sparse->encoding == SparseEncoding::bitmask) {
            operand.values_before = count_values(sparse->positions);
            // Rows must start at whole bytes of the mask.
            operand.expanded = sparse->count >= rows_ * cols_ / expand_below && cols_ % 8 == 0;
        }
        if (is_scattered(operand)) ++scattered_;
        operands_.push_back(std::move(operand));
    }
    if (low_rank_ > 0) {
        constexpr std::uint64_t rows = kernels::low_rank_rows_at_once;
        tile_rows_ = (tile_rows_ + rows - 1) / rows * rows;
    } else if (scattered_ == operands_.size() && view_.dtype == Dtype::f32 && !survival_) {
        tile_rows_ = std::max<std::uint64_t>(1, scattered_tile_elements / cols_);
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

bool TensorFuser::is_scattered(const Operand& operand) noexcept {
    return std::holds_alternative<SparseDelta>(operand.delta) && !operand.expanded;
}

bool TensorFuser::is_low_rank(const Operand& operand) noexcept {
    return std::holds_alternative<LowRankDelta>(operand.delta);
}

/// Stored values of a bitmask before an element.
std::uint64_t TensorFuser::values_before(const Operand& operand, std::uint64_t element) const {
    const Bytes mask = std::get<SparseDelta>(operand.delta).positions;
    std::uint64_t word = element / mask_stretch * (mask_stretch / 64);
    std::uint64_t before = operand.values_before[element / mask_stretch];
    for (; word < element / 64; ++word) {
        before += static_cast<std::uint64_t>(std::popcount(mask_word(mask, word)));
    }
    const std::uint64_t below = (std::uint64_t{1} << element % 64) - 1;
    return before + static_cast<std::uint64_t>(std::popcount(mask_word(mask, word) & below));
}

bool TensorFuser::touches(const Operand& operand, const Tile& tile) const {
    if (!is_scattered(operand)) return true;
    const auto& sparse = std::get<SparseDelta>(operand.delta);
    const std::uint64_t begin = tile.first_row * cols_;
    const std::uint64_t end = begin + tile.rows * cols_;
    if (sparse.encoding == SparseEncoding::index_list) {
        const std::uint64_t i = lower_bound_index(sparse.positions, sparse.count, begin);
        return i < sparse.count && load<std::uint32_t>(sparse.positions, 4 * i) < end;
    }
    const std::uint64_t last = end == rows_ * cols_ ? sparse.count : values_before(operand, end);
    return values_before(operand, begin) < last;
}

/// Adds a sparse delta element by element; `first_bad` becomes the first flat index whose new value
/// is not finite, if that is smaller.
void TensorFuser::scatter(const Operand& operand, const Tile& tile, float* w,
                          std::uint32_t* touched, std::uint64_t& first_bad) const {
    const auto& sparse = std::get<SparseDelta>(operand.delta);
    const std::uint64_t begin = tile.first_row * cols_;
    const std::uint64_t end = begin + tile.rows * cols_;
    const auto add = [&](std::uint64_t index, float value) {
        const float delta = operand.strength * value;
        if (delta == 0.0F) return;
        float& element = w[index - begin];
        element = element + delta;
        if (touched != nullptr) touched[index - begin] = ~0U;
        // What is not finite stays so, whatever is added to it later.
        if (!std::isfinite(element)) first_bad = std::min(first_bad, index);
    };
    if (sparse.encoding == SparseEncoding::index_list) {
        const std::uint64_t first = lower_bound_index(sparse.positions, sparse.count, begin);
        const std::uint64_t last = lower_bound_index(sparse.positions, sparse.count, end);
        for (std::uint64_t i = first; i < last; ++i) {
            const std::uint64_t ahead = std::min(i + prefetch_ahead, last - 1);
            __builtin_prefetch(w + (load<std::uint32_t>(sparse.positions, 4 * ahead) - begin), 1);
            add(load<std::uint32_t>(sparse.positions, 4 * i), load<float>(sparse.values, 4 * i));
        }
        return;
    }
    std::uint64_t value = values_before(operand, begin);
    for (std::uint64_t word = begin / 64; word * 64 < end; ++word) {
        std::uint64_t bits = mask_word(sparse.positions, word);
        if (word * 64 < begin) bits &= ~std::uint64_t{0} << begin % 64;
        for (; bits != 0; bits &= bits - 1, ++value) {
            const std::uint64_t index =
                word * 64 + static_cast<std::uint64_t>(std::countr_zero(bits));
            if (index >= end) return;
            add(index, load<float>(sparse.values, 4 * value));
        }
    }
}

kernels::LowRankOperand TensorFuser::low_rank_operand(const Operand& operand,
                                                      const Tile& tile) const noexcept {
    const auto& low_rank = std::get<LowRankDelta>(operand.delta);
    return {operand.packed_a.data(),
            low_rank.b.data() + tile.first_row * low_rank.rank * sizeof(float), low_rank.rank,
            operand.strength * low_rank.scale};
}

/// An operand that is not scattered as plain values; where it is not stored as such it is written
/// out in `room`, which has that of a tile.
kernels::DenseOperand TensorFuser::dense_operand(const Operand& operand, const Tile& tile,
                                                 float* room) const {
    const std::uint64_t first = tile.first_row * cols_;
    const auto* written_out = reinterpret_cast<const std::byte*>(room);
    if (const auto* dense = std::get_if<DenseDelta>(&operand.delta)) {
        return {dense->values.data() + first * sizeof(float), operand.strength, true};
    }
    if (is_low_rank(operand)) {
        kernels_->multiply_low_rank(low_rank_operand(operand, tile), tile.rows, cols_, room);
        return {written_out, 1.0F};  // the strength is in c
    }
    const auto& sparse = std::get<SparseDelta>(operand.delta);
    const std::uint64_t before = values_before(operand, first);
    kernels_->expand_bits(sparse.positions.data() + first / 8, tile.rows * cols_,
                          sparse.values.data() + before * sizeof(float), sparse.count - before,
                          room);
    return {written_out, operand.strength};
}

/// Adds every operand in order. Returns the first element of the tile that is not finite, or their
/// number.
std::uint64_t TensorFuser::add_all(const Tile& tile, FuseScratch& scratch, float* w,
                                   std::uint32_t* touched) const {
    const std::uint64_t elements = tile.rows * cols_;
    const std::uint64_t begin = tile.first_row * cols_;
    // Of every element after the last operand that looks at all; of those touched by the others.
    std::uint32_t largest = scattered_ == operands_.size() ? 0 : kernels::infinity_bits;
    std::uint64_t first_bad = begin + elements;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
        if (is_scattered(operands_[i])) {
            scatter(operands_[i], tile, w, touched, first_bad);
        } else if (is_low_rank(operands_[i])) {
            scratch.low_rank.clear();
            for (; i < operands_.size() && is_low_rank(operands_[i]); ++i) {
                scratch.low_rank.push_back(low_rank_operand(operands_[i], tile));
            }
            --i;
            largest = kernels_->add_low_rank(scratch.low_rank, tile.rows, cols_, w, touched);
        } else {
            if (operands_[i].expanded) scratch.expanded.resize(elements);
            largest = kernels_->add_dense(
                dense_operand(operands_[i], tile, scratch.expanded.data()), elements, w, touched);
        }
    }
    if (largest < kernels::infinity_bits && first_bad == begin + elements) return elements;
    return kernels_->first_non_finite(reinterpret_cast<const std::byte*>(w), elements);
}

void TensorFuser::measure(const Tile& tile, const kernels::GroupTile& group,
                          TileOutcome& outcome) const {
    for (std::uint64_t row = 0; row < tile.rows; ++row) {
        outcome.survival.push_back(kernels_->survival(group, row, cols_));
    }
}

void TensorFuser::fuse_f32(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                           TileOutcome& outcome) const {
    // The values are worked on where they will lie.
    auto* w = reinterpret_cast<float*>(payload);
    const std::uint64_t elements = tile.rows * cols_;
    kernels::GroupTile group;
    group.values = payload;
    group.old_values = view_.payload.data() + payload_offset(tile);
    if (group.old_values == payload && survival_) group.old_values = scratch.before.data();
    std::uint64_t bad = elements;
    if (survival_ && scattered_ == 0) {
        make_dense(tile, scratch);
        group.operands = scratch.dense;
        std::uint32_t largest = 0;
        for (const kernels::DenseOperand& operand : scratch.dense) {
            largest = kernels_->add_dense(operand, elements, w, nullptr);
        }
        if (largest >= kernels::infinity_bits) bad = kernels_->first_non_finite(payload, elements);
    } else {
        if (survival_) {
            scratch.touched.assign(elements, 0);
            group.w = w;
            group.touched = scratch.touched.data();
        }
        bad = add_all(tile, scratch, w, survival_ ? scratch.touched.data() : nullptr);
    }
    if (bad < elements) {
        outcome.bad = tile.first_row * cols_ + bad;
        return;
    }
    if (survival_) measure(tile, group, outcome);
}

/// Every operand as plain values: the kernels then need one pass over the tile.
void TensorFuser::make_dense(const Tile& tile, FuseScratch& scratch) const {
    const std::uint64_t elements = tile.rows * cols_;
    scratch.deltas.resize(operands_.size() * elements);
    scratch.dense.clear();
    for (std::size_t i = 0; i < operands_.size(); ++i) {
        scratch.dense.push_back(
            dense_operand(operands_[i], tile, scratch.deltas.data() + i * elements));
    }
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
    if (scattered_ > 0 || low_rank_ > 1) {
        // One pass for each delta, over values that stay in the cache.
        scratch.w.resize(elements);
        kernels_->decode(group.old_codes, group.old_scales, group.groups, group.group_size,
                         scratch.w.data());
        scratch.touched.assign(elements, 0);
        (void)add_all(tile, scratch, scratch.w.data(), scratch.touched.data());
        group.w = scratch.w.data();
        group.touched = scratch.touched.data();
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
