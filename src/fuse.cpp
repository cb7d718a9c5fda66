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

/// Low-rank deltas of a quantized tile that are written out and added in one pass: with more of
/// them they would not stay in a second-level cache.
constexpr std::size_t written_out_at_once = 8;

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

/// For each stretch of a bitmask, how many of its bits are set before it. False when memory runs
/// out.
bool count_values(const kernels::Table& kernels, Bytes mask, const Allocator& allocator,
                  Buffer<std::uint64_t>& before) noexcept {
    constexpr std::uint64_t bytes = mask_stretch / 8;
    if (!before.allocate(allocator, (mask.size() + bytes - 1) / bytes)) return false;
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
        before[i] = total;
        const std::uint64_t at = i * bytes;
        total += kernels.count_bits(mask.data() + at, std::min(bytes, mask.size() - at));
    }
    return true;
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

bool TensorFuser::prepare(const TensorView& tensor, const TensorStorage& storage,
                          std::span<const PlannedDelta> deltas, const Rounding& rounding,
                          bool survival, const kernels::Table& kernels,
                          const Allocator& allocator) noexcept {
    view_ = tensor;
    view_.payload = {};
    view_.scales = {};
    result_ = view_;
    result_.dtype = storage.dtype;
    result_.block_size = storage.block_size;
    promoted_ = storage.dtype != tensor.dtype;
    kernels_ = &kernels;
    mode_ = rounding.mode;
    key_ = random_key(rounding.seed, view_.name_hash);
    survival_ = survival;
    rows_ = view_.shape.rows();
    cols_ = view_.shape.cols();
    tile_rows_ = std::max<std::uint64_t>(1, tile_elements / cols_);
    scattered_ = 0;
    low_rank_ = 0;
    if (!operands_.allocate(allocator, deltas.size())) return false;
    for (std::size_t i = 0; i < deltas.size(); ++i) {
        Operand& operand = operands_[i];
        operand.delta = deltas[i].delta;
        operand.strength = deltas[i].strength;
        if (const auto* low_rank = std::get_if<LowRankDelta>(&operand.delta)) {
            const std::size_t cols = cols_;
            if (!operand.packed_a.allocate(allocator,
                                           kernels::packed_elements(low_rank->rank, cols))) {
                return false;
            }
            kernels::pack_panels(low_rank->a.data(), low_rank->rank, cols, operand.packed_a.data());
            ++low_rank_;
        } else if (is_bitmask(operand)) {
            const auto& sparse = std::get<SparseDelta>(operand.delta);
            if (!count_values(kernels, sparse.positions, allocator, operand.values_before)) {
                return false;
            }
            // Rows must start at whole bytes of the mask.
            operand.expanded = sparse.count >= rows_ * cols_ / expand_below && cols_ % 8 == 0;
        }
        if (is_scattered(operand)) ++scattered_;
    }
    if (low_rank_ > 0) {
        constexpr std::uint64_t rows = kernels::low_rank_rows_at_once;
        tile_rows_ = (tile_rows_ + rows - 1) / rows * rows;
    } else if (scattered_ == operands_.size() && view_.dtype == Dtype::f32 && !survival_) {
        tile_rows_ = std::max<std::uint64_t>(1, scattered_tile_elements / cols_);
    }
    return true;
}

bool FuseScratch::reserve(const TensorFuser& fuser, const Allocator& allocator) noexcept {
    const std::uint64_t elements = fuser.tile(0).rows * fuser.cols_;
    const std::size_t operands = fuser.operands_.size();
    const bool f32 = !fuser.promoted_ && fuser.view_.dtype == Dtype::f32;
    const bool quantized = !fuser.promoted_ && !f32;
    const bool one_pass =
        quantized ? !fuser.goes_delta_by_delta() : f32 && fuser.survival_ && fuser.scattered_ == 0;
    const bool marked = f32 ? fuser.survival_ && fuser.scattered_ > 0 : !one_pass;
    const bool expands = std::ranges::any_of(
        fuser.operands_, [](const TensorFuser::Operand& operand) { return operand.expanded; });
    const bool lists = std::ranges::any_of(fuser.operands_, [](const TensorFuser::Operand& one) {
        return TensorFuser::is_bitmask(one) && !one.expanded;
    });
    const std::uint64_t values =
        quantized && one_pass ? kernels::buffer_elements(fuser.group_size()) : elements;
    const auto room = [&](bool needed, auto& buffer, std::uint64_t count) {
        return !needed || buffer.reserve(allocator, count);
    };
    return room(!f32, w, values) && room(one_pass, deltas, operands * elements) &&
           room(one_pass, dense, operands) && room(expands, expanded, elements) &&
           room(fuser.low_rank_ > 0, low_rank, fuser.low_rank_) &&
           room(lists, indexes, kernels::index_room(bits_at_once / 8 + 1)) &&
           room(marked, touched, elements) &&
           room(fuser.view_.dtype == Dtype::q4_0, old_codes, elements) &&
           room(!f32, codes, elements) && room(!f32, scales, fuser.scale_bytes(fuser.tile(0))) &&
           room(f32, before, elements * sizeof(float)) && room(fuser.promoted_, decoded, elements);
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

bool TensorFuser::is_bitmask(const Operand& operand) noexcept {
    const auto* sparse = std::get_if<SparseDelta>(&operand.delta);
    return sparse != nullptr && sparse->encoding == SparseEncoding::bitmask;
}

bool TensorFuser::goes_delta_by_delta() const noexcept {
    return scattered_ > 0 || low_rank_ > written_out_at_once;
}

/// Elements that share a scale.
std::uint64_t TensorFuser::group_size() const noexcept {
    return view_.dtype == Dtype::q8_0 ? cols_ : view_.block_size;
}

OldTile TensorFuser::old_tile(const Tile& tile, const std::byte* payload,
                              const std::byte* scales) const noexcept {
    const std::uint64_t first = tile.first_row * cols_;
    if (view_.block_size == 0) return {payload + payload_bytes_of(view_.dtype, first), nullptr};
    return {payload + payload_bytes_of(view_.dtype, first),
            scales + first / group_size() * sizeof(float)};
}

/// Stored values of a bitmask before an element.
std::uint64_t TensorFuser::values_before(const Operand& operand,
                                         std::uint64_t element) const noexcept {
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

bool TensorFuser::touches(const Operand& operand, const Tile& tile) const noexcept {
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
                                   float* w, std::uint32_t* touched) const noexcept {
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
                                                 float* room) const noexcept {
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
                                   std::uint32_t* touched) const noexcept {
    const std::uint64_t elements = tile.rows * cols_;
    // Of every element after the last operand that looks at all; of those touched by the others:
    // what is not finite stays so, whatever is added to it later.
    std::uint32_t largest = scattered_ == operands_.size() ? 0 : kernels::infinity_bits;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
        if (is_scattered(operands_[i])) {
            largest = std::max(largest, scatter(operands_[i], tile, scratch, w, touched));
        } else if (is_low_rank(operands_[i])) {
            std::size_t together = 0;
            for (; i < operands_.size() && is_low_rank(operands_[i]); ++i, ++together) {
                scratch.low_rank[together] = low_rank_operand(operands_[i], tile);
            }
            --i;
            largest = kernels_->add_low_rank({scratch.low_rank.data(), together}, tile.rows, cols_,
                                             w, touched);
        } else {
            largest = kernels_->add_dense(
                dense_operand(operands_[i], tile, scratch.expanded.data()), elements, w, touched);
        }
    }
    if (largest < kernels::infinity_bits) return elements;
    return kernels_->first_non_finite(reinterpret_cast<const std::byte*>(w), elements);
}

void TensorFuser::measure(const Tile& tile, const kernels::GroupTile& group,
                          const kernels::Table& kernels, TileOutcome& outcome) const noexcept {
    for (std::uint64_t row = 0; row < tile.rows; ++row) {
        outcome.rows[row] = kernels.survival(group, row, cols_);
    }
    outcome.measured = tile.rows;
}

void TensorFuser::fuse_f32(const Tile& tile, const std::byte* old, FuseScratch& scratch,
                           std::byte* payload, TileOutcome& outcome) const noexcept {
    // The values are worked on where they will lie.
    auto* w = reinterpret_cast<float*>(payload);
    const std::uint64_t elements = tile.rows * cols_;
    kernels::GroupTile group;
    group.old_values = old;
    std::uint64_t bad = elements;
    if (survival_ && scattered_ == 0) {
        make_dense(tile, scratch);
        group.operands = dense_operands(scratch);
        measure(tile, group, *kernels_, outcome);  // first: what is in place is overwritten next
        std::uint32_t largest = 0;
        for (const kernels::DenseOperand& operand : group.operands) {
            largest = kernels_->add_dense(operand, elements, w, nullptr);
        }
        if (largest >= kernels::infinity_bits) bad = kernels_->first_non_finite(payload, elements);
    } else if (survival_) {
        if (group.old_values == payload) group.old_values = scratch.before.data();
        std::fill_n(scratch.touched.data(), elements, 0U);
        bad = add_all(tile, scratch, w, scratch.touched.data());
        group.w = w;
        group.touched = scratch.touched.data();
        measure(tile, group, *kernels_, outcome);
    } else {
        bad = add_all(tile, scratch, w, nullptr);
    }
    if (bad == elements) return;
    outcome.bad = tile.first_row * cols_ + bad;
    outcome.measured = 0;
}

/// Every operand as plain values: the kernels then need one pass over the tile.
void TensorFuser::make_dense(const Tile& tile, FuseScratch& scratch) const noexcept {
    const std::uint64_t elements = tile.rows * cols_;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
        scratch.dense[i] = dense_operand(operands_[i], tile, scratch.deltas.data() + i * elements);
    }
}

std::span<const kernels::DenseOperand> TensorFuser::dense_operands(
    const FuseScratch& scratch) const noexcept {
    return {scratch.dense.data(), operands_.size()};
}

void TensorFuser::fuse_quantized(const Tile& tile, const OldTile& old, FuseScratch& scratch,
                                 const NewTile& fused, bool watch_changes,
                                 TileOutcome& outcome) const noexcept {
    const bool q8 = view_.dtype == Dtype::q8_0;
    const std::uint64_t elements = tile.rows * cols_;
    const std::size_t bytes = payload_bytes(tile);

    kernels::GroupTile group;
    group.group_size = group_size();
    group.groups = elements / group.group_size;
    group.first_element = tile.first_row * cols_;
    group.mode = mode_;
    group.key = key_;
    const std::uint64_t first_group = group.first_element / group.group_size;
    group.old_scales = old.scales;
    // What replaces old bytes is made beside them: until the tile is done they are still read.
    const std::size_t new_scale_bytes = scale_bytes(tile);
    group.scales = fused.scales == old.scales ? scratch.scales.data() : fused.scales;
    const bool codes_in_place = q8 && fused.payload != old.payload;
    group.codes =
        codes_in_place ? reinterpret_cast<std::int8_t*>(fused.payload) : scratch.codes.data();
    if (q8) {
        group.old_codes = reinterpret_cast<const std::int8_t*>(old.payload);
    } else {
        kernels_->unpack_nibbles(old.payload, elements, scratch.old_codes.data());
        group.old_codes = scratch.old_codes.data();
    }
    if (goes_delta_by_delta()) {
        kernels_->decode(group.old_codes, group.old_scales, group.groups, group.group_size,
                         scratch.w.data());
        std::fill_n(scratch.touched.data(), elements, 0U);
        (void)add_all(tile, scratch, scratch.w.data(), scratch.touched.data());
        group.w = scratch.w.data();
        group.touched = scratch.touched.data();
    } else {
        make_dense(tile, scratch);
        group.operands = dense_operands(scratch);
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
    if (group.scales != fused.scales) std::memcpy(fused.scales, group.scales, new_scale_bytes);
    if (!q8) {
        kernels_->pack_nibbles(group.codes, elements, fused.payload);
    } else if (!codes_in_place) {
        std::memcpy(fused.payload, group.codes, bytes);
    }
}

/// The old values of a quantized tile, in `scratch.decoded`.
void TensorFuser::decode(const Tile& tile, const OldTile& old,
                         FuseScratch& scratch) const noexcept {
    const std::uint64_t elements = tile.rows * cols_;
    const auto* codes = reinterpret_cast<const std::int8_t*>(old.payload);
    if (view_.dtype == Dtype::q4_0) {
        kernels_->unpack_nibbles(old.payload, elements, scratch.old_codes.data());
        codes = scratch.old_codes.data();
    }
    kernels_->decode(codes, old.scales, elements / group_size(), group_size(),
                     scratch.decoded.data());
}

/// A tile whose new values are stored more finely than the old ones. Nothing of the old bytes can
/// stay, so that it counts as changed only where a delta makes a difference.
void TensorFuser::fuse_promoted(const Tile& tile, const OldTile& old, FuseScratch& scratch,
                                const NewTile& fused, bool watch_changes,
                                TileOutcome& outcome) const noexcept {
    decode(tile, old, scratch);
    const std::uint64_t elements = tile.rows * cols_;
    const bool f32 = result_.dtype == Dtype::f32;
    std::fill_n(scratch.touched.data(), elements, 0U);
    std::copy_n(scratch.decoded.data(), elements, scratch.w.data());
    const std::uint64_t bad = add_all(tile, scratch, scratch.w.data(), scratch.touched.data());
    if (bad < elements) {
        outcome.bad = f32 ? tile.first_row * cols_ + bad : tile.first_row + bad / cols_;
        return;
    }
    if (!f32) return encode_promoted(tile, scratch, fused, watch_changes, outcome);
    const std::size_t bytes = payload_bytes(tile);
    std::memcpy(fused.payload, scratch.w.data(), bytes);
    if (watch_changes) {
        outcome.changed = std::memcmp(fused.payload, scratch.decoded.data(), bytes) != 0;
    }
    if (!survival_) return;
    kernels::GroupTile group;
    group.old_values = reinterpret_cast<const std::byte*>(scratch.decoded.data());
    group.w = scratch.w.data();
    group.touched = scratch.touched.data();
    measure(tile, group, *kernels_, outcome);
}

/// Rows that were q4_0 and become q8_0: fitted, as they have no scale that could be kept.
void TensorFuser::encode_promoted(const Tile& tile, FuseScratch& scratch, const NewTile& fused,
                                  bool watch_changes, TileOutcome& outcome) const noexcept {
    const std::size_t bytes = payload_bytes(tile);
    const std::size_t new_scale_bytes = scale_bytes(tile);
    kernels::GroupTile group;
    group.groups = tile.rows;
    group.group_size = cols_;
    group.first_element = tile.first_row * cols_;
    group.codes = reinterpret_cast<std::int8_t*>(fused.payload);
    group.scales = fused.scales;
    group.w = scratch.w.data();
    const std::uint64_t stored = kernels_->encode_q8(group);
    if (stored < group.groups) {
        outcome.bad = tile.first_row + stored;
        return;
    }
    group.touched = scratch.touched.data();
    if (mode_ == RoundingMode::stochastic) {
        // With the fitted scales as old ones only the codes of touched elements are drawn anew.
        std::memcpy(scratch.codes.data(), group.codes, bytes);
        std::memcpy(scratch.scales.data(), group.scales, new_scale_bytes);
        group.old_codes = scratch.codes.data();
        group.old_scales = scratch.scales.data();
        group.mode = mode_;
        group.key = key_;
        (void)kernels_->encode_q8(group);  // the same values with scales that are in bounds
    }
    if (watch_changes) {
        // Without the deltas the tile would have been stored like this.
        kernels::GroupTile plain;
        plain.groups = group.groups;
        plain.group_size = group.group_size;
        plain.w = scratch.decoded.data();
        plain.codes = scratch.codes.data();
        plain.scales = scratch.scales.data();
        outcome.changed = kernels_->encode_q8(plain) < plain.groups ||
                          std::memcmp(plain.codes, fused.payload, bytes) != 0 ||
                          std::memcmp(plain.scales, fused.scales, new_scale_bytes) != 0;
    }
    if (!survival_) return;
    group.old_codes = nullptr;
    group.old_scales = nullptr;
    group.old_values = reinterpret_cast<const std::byte*>(scratch.decoded.data());
    // Only the plain kernel measures values against codes.
    measure(tile, group, kernels::scalar_table(), outcome);
}

void TensorFuser::fuse(const Tile& tile, const OldTile& old, FuseScratch& scratch,
                       const NewTile& fused, bool watch_changes,
                       TileOutcome& outcome) const noexcept {
    outcome.bad.reset();
    outcome.changed = false;
    outcome.measured = 0;
    if (promoted_) return fuse_promoted(tile, old, scratch, fused, watch_changes, outcome);
    const std::size_t bytes = payload_bytes(tile);
    const bool in_place = fused.payload == old.payload;
    const bool f32 = view_.dtype == Dtype::f32;
    const bool untouched = std::ranges::none_of(
        operands_, [&](const Operand& operand) { return touches(operand, tile); });
    if ((untouched || f32) && !in_place) std::memcpy(fused.payload, old.payload, bytes);
    if (untouched) {
        if (!f32 && fused.scales != old.scales) {
            std::memcpy(fused.scales, old.scales, scale_bytes(tile));
        }
        return;
    }
    if (!f32) return fuse_quantized(tile, old, scratch, fused, watch_changes, outcome);
    const bool keep_old = in_place && (watch_changes || (survival_ && scattered_ > 0));
    if (keep_old) std::memcpy(scratch.before.data(), old.payload, bytes);
    fuse_f32(tile, old.payload, scratch, fused.payload, outcome);
    if (watch_changes) {
        const std::byte* before = keep_old ? scratch.before.data() : old.payload;
        outcome.changed = std::memcmp(fused.payload, before, bytes) != 0;
    }
}

}  // namespace trlm::adapt
