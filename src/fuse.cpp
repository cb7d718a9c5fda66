#include "fuse.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

/// Elements of a tile: four such f32 buffers stay in a second-level cache of 512 KiB.
constexpr std::uint64_t tile_elements = 16 * 1024;

/// Low-rank kernels work on several rows at once.
constexpr std::uint64_t low_rank_tile_rows = 8;

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

TensorFuser::TensorFuser(const ApplyPlan& plan, const PlannedTensor& tensor,
                         const Rounding& rounding, bool survival, const kernels::Table& kernels)
    : view_(plan.model->view(tensor.model_index)),
      kernels_(&kernels),
      mode_(rounding.mode),
      key_(random_key(rounding.seed, view_.name_hash)),
      survival_(survival),
      rows_(view_.shape.rows()),
      cols_(view_.shape.cols()),
      tile_rows_(std::max<std::uint64_t>(1, tile_elements / cols_)) {
    for (const PlannedDelta& planned : tensor.deltas) {
        Operand operand{planned.delta, planned.strength, {}, {}};
        if (const auto* low_rank = std::get_if<LowRankDelta>(&planned.delta)) {
            operand.packed_a = kernels::pack_panels(low_rank->a.data(), low_rank->rank, cols_);
            tile_rows_ = std::max(tile_rows_, low_rank_tile_rows);
        } else if (const auto* sparse = std::get_if<SparseDelta>(&planned.delta);
                   sparse != nullptr && sparse->encoding == SparseEncoding::bitmask) {
            operand.values_before = count_values(sparse->positions);
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

bool TensorFuser::touches(const Operand& operand, const Tile& tile) const {
    if (!std::holds_alternative<SparseDelta>(operand.delta)) return true;
    bool found = false;
    visit_sparse(operand, tile, [&](std::uint64_t, float) {
        found = true;
        return false;
    });
    return found;
}

void TensorFuser::add(const Operand& operand, const Tile& tile, float* w,
                      std::uint32_t* touched) const {
    const std::uint64_t first = tile.first_row * cols_;
    if (const auto* dense = std::get_if<DenseDelta>(&operand.delta)) {
        kernels_->add_dense(dense->values.data() + first * sizeof(float), operand.strength,
                            tile.rows * cols_, w, touched);
    } else if (const auto* low_rank = std::get_if<LowRankDelta>(&operand.delta)) {
        const kernels::LowRankOperand factors{operand.packed_a.data(), low_rank->rank, cols_,
                                              operand.strength * low_rank->scale};
        kernels_->add_low_rank(factors,
                               low_rank->b.data() + tile.first_row * low_rank->rank * sizeof(float),
                               tile.rows, w, touched);
    } else {
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

void TensorFuser::measure(const Tile& tile, const FuseScratch& scratch, const float* w,
                          const float* decoded, TileOutcome& outcome) const {
    for (std::uint64_t row = 0; row < tile.rows; ++row) {
        const std::uint64_t at = row * cols_;
        outcome.survival.push_back(kernels_->survival(scratch.old.data() + at, w + at, decoded + at,
                                                      scratch.touched.data() + at, cols_));
    }
}

void TensorFuser::fuse_f32(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                           TileOutcome& outcome) const {
    // The values are worked on where they will lie.
    auto* w = reinterpret_cast<float*>(payload);
    const std::uint64_t elements = tile.rows * cols_;
    std::uint32_t* touched = nullptr;
    if (survival_) {
        scratch.old.assign(w, w + elements);
        scratch.touched.assign(elements, 0);
        touched = scratch.touched.data();
    }
    for (const Operand& operand : operands_)
        add(operand, tile, w, touched);
    const std::uint64_t bad = kernels_->first_non_finite(payload, elements);
    if (bad < elements) {
        outcome.bad = tile.first_row * cols_ + bad;
        return;
    }
    if (survival_) measure(tile, scratch, w, w, outcome);
}

void TensorFuser::fuse_quantized(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                                 std::byte* tensor_scales, TileOutcome& outcome) const {
    const bool q8 = view_.dtype == Dtype::q8_0;
    const std::uint64_t elements = tile.rows * cols_;
    const std::uint64_t group_size = q8 ? cols_ : view_.block_size;
    const std::uint64_t groups = elements / group_size;
    const std::uint64_t first_group = tile.first_row * cols_ / group_size;
    const std::byte* old_codes = view_.payload.data() + tile.first_row * (q8 ? cols_ : cols_ / 2);
    const std::byte* old_scales = view_.scales.data() + first_group * sizeof(float);
    std::byte* scales = tensor_scales + first_group * sizeof(float);
    const auto decode = q8 ? kernels_->decode_q8 : kernels_->decode_q4;

    scratch.w.resize(elements);
    decode(old_codes, old_scales, groups, group_size, scratch.w.data());
    if (survival_ || mode_ != RoundingMode::nearest) {
        scratch.old.assign(scratch.w.begin(), scratch.w.end());
    }
    scratch.touched.assign(elements, 0);
    for (const Operand& operand : operands_) {
        add(operand, tile, scratch.w.data(), scratch.touched.data());
    }
    kernels::EncodeTile encoded;
    encoded.w = scratch.w.data();
    encoded.old = scratch.old.data();
    encoded.touched = scratch.touched.data();
    encoded.old_codes = old_codes;
    encoded.old_scales = old_scales;
    encoded.codes = payload;
    encoded.scales = scales;
    encoded.groups = groups;
    encoded.group_size = group_size;
    encoded.first_element = tile.first_row * cols_;
    encoded.mode = mode_;
    encoded.key = key_;
    const std::uint64_t stored = q8 ? kernels_->encode_q8(encoded) : kernels_->encode_q4(encoded);
    if (stored < groups) {
        outcome.bad = first_group + stored;
        return;
    }
    outcome.changed = std::memcmp(scales, old_scales, groups * sizeof(float)) != 0;
    if (survival_) {
        scratch.decoded.resize(elements);
        decode(payload, scales, groups, group_size, scratch.decoded.data());
        measure(tile, scratch, scratch.w.data(), scratch.decoded.data(), outcome);
    }
}

void TensorFuser::fuse(const Tile& tile, FuseScratch& scratch, std::byte* payload,
                       std::byte* tensor_scales, TileOutcome& outcome) const {
    outcome = {};
    const std::size_t bytes = payload_bytes(tile);
    const std::byte* old_payload = view_.payload.data() + payload_bytes({0, 1}) * tile.first_row;
    const bool untouched = std::ranges::none_of(
        operands_, [&](const Operand& operand) { return touches(operand, tile); });
    if (untouched || view_.dtype == Dtype::f32) std::memcpy(payload, old_payload, bytes);
    if (untouched) {
        const std::uint64_t row_scales = view_.scales.size() / rows_;
        if (row_scales > 0) {
            const std::uint64_t at = tile.first_row * row_scales;
            std::memcpy(tensor_scales + at, view_.scales.data() + at, tile.rows * row_scales);
        }
        return;
    }
    if (view_.dtype == Dtype::f32) {
        fuse_f32(tile, scratch, payload, outcome);
    } else {
        fuse_quantized(tile, scratch, payload, tensor_scales, outcome);
    }
    outcome.changed = outcome.changed || std::memcmp(payload, old_payload, bytes) != 0;
}

}  // namespace trlm::adapt
