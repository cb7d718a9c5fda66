#include "fuse.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/element.hpp"
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

/// Bits of a mask that become a list of indexes together: a multiple of 8.
constexpr std::uint64_t bits_at_once = 32'768;

std::uint64_t random_key(std::uint64_t seed, std::uint64_t name_hash) {
    std::array<std::byte, 16> bytes{};
    store(MutableBytes(bytes), 0, seed);
    store(MutableBytes(bytes), 8, name_hash);
    return xxh3_64(bytes);
}

/// For each stretch of a bitmask, how many of its bits are set before it.
std::vector<std::uint64_t> count_values(const kernels::Table& kernels, Bytes mask) {
    constexpr std::uint64_t bytes = mask_stretch / 8;
    std::vector<std::uint64_t> before;
    std::uint64_t total = 0;
    for (std::uint64_t at = 0; at < mask.size(); at += bytes) {
        before.push_back(total);
        total += kernels.count_bits(mask.data() + at, std::min(bytes, mask.size() - at));
    }
    return before;
}

/// Bytes that `elements` values take; even for q4_0.
std::size_t payload_bytes_of(Dtype dtype, std::uint64_t elements) noexcept {
    switch (dtype) {
        case Dtype::f32:
            return elements * sizeof(float);
        case Dtype::q8_0:
            return elements;
        case Dtype::q4_0:
            break;
    }
    return elements / 2;
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

/// Values that are added at given places.
struct ScatteredValues {
    const std::byte* indexes = nullptr;  ///< u32; the element is index + base modulo 2^64
    std::uint64_t base = 0;
    const std::byte* values = nullptr;  ///< f32
    std::uint64_t count = 0;
    float strength = 1;

    [[nodiscard]] std::uint64_t element(std::uint64_t i) const noexcept {
        std::uint32_t index = 0;
        std::memcpy(&index, indexes + i * sizeof index, sizeof index);
        return index + base;
    }
};

/// w += strength * value where that is not zero; marks these in `touched` unless null. Returns the
/// bits of the largest magnitude of what was added to.
std::uint32_t add_scattered(const ScatteredValues& scattered, float* w, std::uint32_t* touched) {
    const std::uint64_t count = scattered.count;
    for (std::uint64_t i = 0; i < std::min(prefetch_ahead, count); ++i)
        __builtin_prefetch(w + scattered.element(i), 1);
    std::uint32_t largest = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t ahead = std::min(i + prefetch_ahead, count - 1);
        __builtin_prefetch(w + scattered.element(ahead), 1);
        const float delta = scattered.strength * kernels::load_f32(scattered.values, i);
        if (delta == 0.0F) continue;
        const std::uint64_t at = scattered.element(i);
        w[at] = w[at] + delta;
        if (touched != nullptr) touched[at] = ~0U;
        largest = std::max(largest, kernels::magnitude_bits(w[at]));
    }
    return largest;
}

}  // namespace

TensorFuser::TensorFuser(const TensorView& tensor, const TensorStorage& storage,
                         std::span<const PlannedDelta> deltas, const Rounding& rounding,
                         bool survival, const kernels::Table& kernels)
    : view_(tensor),
      result_{tensor.name, tensor.name_hash, storage.dtype, tensor.shape, storage.block_size, {},
              {}},
      promoted_(storage.dtype != tensor.dtype),
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
            operand.values_before = count_values(kernels, sparse->positions);
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
    return payload_bytes_of(result_.dtype, tile.rows * cols_);
}

std::size_t TensorFuser::scale_bytes(const Tile& tile) const noexcept {
    return result_.block_size == 0 ? 0 : tile.rows * cols_ / result_.block_size * sizeof(float);
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
    const std::uint64_t stretch = element / mask_stretch;
    const std::uint64_t begin = stretch * mask_stretch / 8;
    const std::uint64_t before = operand.values_before[stretch] +
                                 kernels_->count_bits(mask.data() + begin, element / 8 - begin);
    if (element % 8 == 0) return before;
    const unsigned below = (1U << element % 8) - 1;
    const unsigned bits = std::to_integer<unsigned>(mask[element / 8]) & below;
    return before + static_cast<std::uint64_t>(std::popcount(bits));
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

/// Adds a sparse delta element by element. Returns the bits of the largest magnitude of what was
/// added to.
std::uint32_t TensorFuser::scatter(const Operand& operand, const Tile& tile, FuseScratch& scratch,
                                   float* w, std::uint32_t* touched) const {
    const auto& sparse = std::get<SparseDelta>(operand.delta);
    const std::uint64_t begin = tile.first_row * cols_;
    const std::uint64_t end = begin + tile.rows * cols_;
    ScatteredValues some;
    some.strength = operand.strength;
    if (sparse.encoding == SparseEncoding::index_list) {
        const std::uint64_t first = lower_bound_index(sparse.positions, sparse.count, begin);
        const std::uint64_t last = lower_bound_index(sparse.positions, sparse.count, end);
        some.indexes = sparse.positions.data() + first * sizeof(std::uint32_t);
        some.base = 0 - begin;
        some.values = sparse.values.data() + first * sizeof(float);
        some.count = last - first;
        return add_scattered(some, w, touched);
    }
    // The bits of a stretch become a list first: then it is known which elements come next.
    std::uint32_t largest = 0;
    scratch.indexes.resize(kernels::index_room(bits_at_once / 8 + 1));
    some.values = sparse.values.data() + values_before(operand, begin) * sizeof(float);
    for (std::uint64_t from = begin; from < end; from += bits_at_once) {
        const std::uint64_t to = std::min(from + bits_at_once, end);
        const std::uint64_t origin = from / 8 * 8;
        const Bytes mask = slice(sparse.positions, origin / 8, (to + 7) / 8 - origin / 8);
        const std::uint32_t* first = scratch.indexes.data();
        const std::uint32_t* last =
            first + kernels_->find_bits(mask.data(), mask.size(), scratch.indexes.data());
        // The first and the last byte may have bits of other tiles.
        while (first != last && origin + *first < from)
            ++first;
        while (first != last && origin + last[-1] >= to)
            --last;
        some.indexes = reinterpret_cast<const std::byte*>(first);
        some.base = origin - begin;
        some.count = static_cast<std::uint64_t>(last - first);
        largest = std::max(largest, add_scattered(some, w, touched));
        some.values += some.count * sizeof(float);
    }
    return largest;
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
    // Of every element after the last operand that looks at all; of those touched by the others:
    // what is not finite stays so, whatever is added to it later.
    std::uint32_t largest = scattered_ == operands_.size() ? 0 : kernels::infinity_bits;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
        if (is_scattered(operands_[i])) {
            largest = std::max(largest, scatter(operands_[i], tile, scratch, w, touched));
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
    if (largest < kernels::infinity_bits) return elements;
    return kernels_->first_non_finite(reinterpret_cast<const std::byte*>(w), elements);
}

void TensorFuser::measure(const Tile& tile, const kernels::GroupTile& group,
                          const kernels::Table& kernels, TileOutcome& outcome) const {
    for (std::uint64_t row = 0; row < tile.rows; ++row) {
        outcome.survival.push_back(kernels.survival(group, row, cols_));
    }
}

void TensorFuser::fuse_f32(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                           TileOutcome& outcome) const {
    // The values are worked on where they will lie.
    auto* w = reinterpret_cast<float*>(payload);
    const std::uint64_t elements = tile.rows * cols_;
    kernels::GroupTile group;
    group.old_values = view_.payload.data() + payload_offset(tile);
    std::uint64_t bad = elements;
    if (survival_ && scattered_ == 0) {
        make_dense(tile, scratch);
        group.operands = scratch.dense;
        measure(tile, group, *kernels_, outcome);  // first: what is in place is overwritten next
        std::uint32_t largest = 0;
        for (const kernels::DenseOperand& operand : scratch.dense) {
            largest = kernels_->add_dense(operand, elements, w, nullptr);
        }
        if (largest >= kernels::infinity_bits) bad = kernels_->first_non_finite(payload, elements);
    } else if (survival_) {
        if (group.old_values == payload) group.old_values = scratch.before.data();
        scratch.touched.assign(elements, 0);
        bad = add_all(tile, scratch, w, scratch.touched.data());
        group.w = w;
        group.touched = scratch.touched.data();
        measure(tile, group, *kernels_, outcome);
    } else {
        bad = add_all(tile, scratch, w, nullptr);
    }
    if (bad == elements) return;
    outcome.bad = tile.first_row * cols_ + bad;
    outcome.survival.clear();
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
    if (survival_) measure(tile, group, *kernels_, outcome);
    if (group.scales != scales) std::memcpy(scales, group.scales, new_scale_bytes);
    if (!q8) {
        kernels_->pack_nibbles(group.codes, elements, payload);
    } else if (!codes_in_place) {
        std::memcpy(payload, group.codes, bytes);
    }
}

/// The old values of a quantized tile, in `scratch.decoded`.
void TensorFuser::decode(const Tile& tile, FuseScratch& scratch) const {
    const std::uint64_t first = tile.first_row * cols_;
    const std::uint64_t elements = tile.rows * cols_;
    const std::byte* payload = view_.payload.data() + payload_bytes_of(view_.dtype, first);
    const std::uint64_t group_size = view_.dtype == Dtype::q8_0 ? cols_ : view_.block_size;
    const auto* codes = reinterpret_cast<const std::int8_t*>(payload);
    if (view_.dtype == Dtype::q4_0) {
        scratch.old_codes.resize(elements);
        kernels_->unpack_nibbles(payload, elements, scratch.old_codes.data());
        codes = scratch.old_codes.data();
    }
    scratch.decoded.resize(elements);
    kernels_->decode(codes, view_.scales.data() + first / group_size * sizeof(float),
                     elements / group_size, group_size, scratch.decoded.data());
}

/// A tile whose new values are stored more finely than the old ones. Nothing of the old bytes can
/// stay, so that it counts as changed only where a delta makes a difference.
void TensorFuser::fuse_promoted(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                                std::byte* scales, bool watch_changes, TileOutcome& outcome) const {
    decode(tile, scratch);
    const std::uint64_t elements = tile.rows * cols_;
    const bool f32 = result_.dtype == Dtype::f32;
    scratch.touched.assign(elements, 0);
    scratch.w.assign(scratch.decoded.begin(), scratch.decoded.end());
    const std::uint64_t bad = add_all(tile, scratch, scratch.w.data(), scratch.touched.data());
    if (bad < elements) {
        outcome.bad = f32 ? tile.first_row * cols_ + bad : tile.first_row + bad / cols_;
        return;
    }
    if (!f32) return encode_promoted(tile, scratch, payload, scales, watch_changes, outcome);
    const std::size_t bytes = payload_bytes(tile);
    std::memcpy(payload, scratch.w.data(), bytes);
    if (watch_changes) outcome.changed = std::memcmp(payload, scratch.decoded.data(), bytes) != 0;
    if (!survival_) return;
    kernels::GroupTile group;
    group.old_values = reinterpret_cast<const std::byte*>(scratch.decoded.data());
    group.w = scratch.w.data();
    group.touched = scratch.touched.data();
    measure(tile, group, *kernels_, outcome);
}

/// Rows that were q4_0 and become q8_0: fitted, as they have no scale that could be kept.
void TensorFuser::encode_promoted(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                                  std::byte* scales, bool watch_changes,
                                  TileOutcome& outcome) const {
    const std::size_t bytes = payload_bytes(tile);
    kernels::GroupTile group;
    group.groups = tile.rows;
    group.group_size = cols_;
    group.first_element = tile.first_row * cols_;
    group.codes = reinterpret_cast<std::int8_t*>(payload);
    group.scales = scales;
    group.w = scratch.w.data();
    const std::uint64_t stored = kernels_->encode_q8(group);
    if (stored < group.groups) {
        outcome.bad = tile.first_row + stored;
        return;
    }
    group.touched = scratch.touched.data();
    if (mode_ == RoundingMode::stochastic) {
        // With the fitted scales as old ones only the codes of touched elements are drawn anew.
        scratch.codes.assign(group.codes, group.codes + bytes);
        scratch.scales.assign(scales, scales + scale_bytes(tile));
        group.old_codes = scratch.codes.data();
        group.old_scales = scratch.scales.data();
        group.mode = mode_;
        group.key = key_;
        (void)kernels_->encode_q8(group);  // the same values with scales that are in bounds
    }
    if (watch_changes) {
        // Without the deltas the tile would have been stored like this.
        scratch.codes.resize(bytes);
        scratch.scales.resize(scale_bytes(tile));
        kernels::GroupTile plain;
        plain.groups = group.groups;
        plain.group_size = group.group_size;
        plain.w = scratch.decoded.data();
        plain.codes = scratch.codes.data();
        plain.scales = scratch.scales.data();
        outcome.changed = kernels_->encode_q8(plain) < plain.groups ||
                          std::memcmp(plain.codes, payload, bytes) != 0 ||
                          std::memcmp(plain.scales, scales, scratch.scales.size()) != 0;
    }
    if (!survival_) return;
    group.old_codes = nullptr;
    group.old_scales = nullptr;
    group.old_values = reinterpret_cast<const std::byte*>(scratch.decoded.data());
    // Only the plain kernel measures values against codes.
    measure(tile, group, kernels::scalar_table(), outcome);
}

void TensorFuser::fuse(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                       std::byte* scales, bool watch_changes, TileOutcome& outcome) const {
    outcome.bad.reset();
    outcome.changed = false;
    outcome.survival.clear();
    if (promoted_) return fuse_promoted(tile, scratch, payload, scales, watch_changes, outcome);
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
    const bool keep_old = in_place && (watch_changes || (survival_ && scattered_ > 0));
    if (keep_old) scratch.before.assign(old_payload, old_payload + bytes);
    fuse_f32(tile, scratch, payload, outcome);
    if (watch_changes) {
        const std::byte* before = keep_old ? scratch.before.data() : old_payload;
        outcome.changed = std::memcmp(payload, before, bytes) != 0;
    }
}

}  // namespace trlm::adapt
