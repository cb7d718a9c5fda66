#include "workbench.hpp"

#include <algorithm>
#include <cmath>

#include "encode.hpp"
#include "random.hpp"

namespace trlm::adapt::bench {
namespace {

constexpr float weight_deviation = 0.02F;
constexpr float delta_deviation = 0.0005F;

enum Part : std::uint64_t { weights, dense_delta, sparse_positions, sparse_values, factors };

SampleTensor make_tensor(Dtype dtype, const Extent& extent) {
    SampleTensor tensor;
    tensor.dtype = dtype;
    tensor.shape = {2, {extent.rows, extent.cols, 1, 1}};
    tensor.block_size = canonical_block_size(dtype, tensor.shape);
    tensor.payload.resize(adapt::payload_bytes(dtype, tensor.shape).value());
    tensor.scales.resize(scale_count(dtype, tensor.shape, tensor.block_size).value());
    const std::uint64_t seed = derived_seed(0, Part::weights);
    if (dtype == Dtype::f32) {
        fill_random(seed, 0, weight_deviation, tensor.values());
        return tensor;
    }
    const std::span<std::byte> scales = std::as_writable_bytes(std::span(tensor.scales));
    const ModelTensor stored{.name = {},
                             .dtype = dtype,
                             .shape = tensor.shape,
                             .block_size = tensor.block_size,
                             .payload_length = tensor.payload.size(),
                             .scale_length = scales.size()};
    TensorEncoder encoder(stored);
    Findings none;  // such small values can be stored
    std::vector<float> row(extent.cols);
    for (std::uint64_t r = 0; r < extent.rows; ++r) {
        fill_random(seed, r * extent.cols, weight_deviation, row);
        (void)encoder.encode(row, tensor.payload.data() + r * encoder.payload_bytes(1),
                             scales.data() + r * encoder.scale_bytes(1), none);
    }
    return tensor;
}

}  // namespace

SparseDelta SampleSparse::delta() const {
    return {encoding, values.size(), positions, std::as_bytes(std::span(values))};
}

LowRankDelta SampleLowRank::delta() const {
    return {rank, scale, std::as_bytes(std::span(a)), std::as_bytes(std::span(b))};
}

SampleTensor& Workbench::tensor(Dtype dtype) {
    SampleTensor& tensor = tensors_[static_cast<std::size_t>(dtype) - 1];
    if (tensor.payload.empty()) tensor = make_tensor(dtype, extent_);
    return tensor;
}

std::span<float> Workbench::dense() {
    if (dense_.empty()) {
        dense_.resize(extent_.elements());
        fill_random(derived_seed(0, Part::dense_delta), 0, delta_deviation, dense_);
    }
    return dense_;
}

std::span<float> Workbench::spare() {
    if (spare_.empty()) spare_.resize(extent_.elements());
    return spare_;
}

std::shared_ptr<SampleSparse> Workbench::sparse(double density, SparseEncoding encoding) {
    auto sparse = std::make_shared<SampleSparse>();
    sparse->encoding = encoding;
    const std::uint64_t elements = extent_.elements();
    const auto count = std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(std::llround(density * static_cast<double>(elements))));
    sparse->values.resize(count);
    fill_random(derived_seed(0, Part::sparse_values), 0, delta_deviation, sparse->values);
    const bool list = encoding == SparseEncoding::index_list;
    sparse->positions.resize(list ? count * sizeof(std::uint32_t) : (elements + 7) / 8);
    for (std::uint64_t i = 0; i < count; ++i) {
        // One element of each of `count` nearly equal stretches.
        const std::uint64_t index =
            stratified_index(derived_seed(0, Part::sparse_positions), i, count, elements);
        if (list) {
            store(MutableBytes(sparse->positions), i * sizeof(std::uint32_t),
                  static_cast<std::uint32_t>(index));
        } else {
            sparse->positions[index / 8] |= std::byte{1} << (index % 8);
        }
    }
    return sparse;
}

std::shared_ptr<SampleLowRank> Workbench::low_rank(std::uint32_t rank, std::uint64_t seed) {
    auto low_rank = std::make_shared<SampleLowRank>();
    low_rank->rank = rank;
    low_rank->a.resize(std::size_t{rank} * extent_.cols);
    low_rank->b.resize(std::size_t{rank} * extent_.rows);
    // So that the product is as large as a dense delta, whatever the rank.
    const float deviation = std::sqrt(delta_deviation / std::sqrt(static_cast<float>(rank)));
    fill_random(derived_seed(seed, Part::factors), 0, deviation, low_rank->a);
    fill_random(derived_seed(seed, Part::factors + 1), 0, deviation, low_rank->b);
    return low_rank;
}

}  // namespace trlm::adapt::bench
