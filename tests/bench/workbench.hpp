#pragma once
// Buffers that jobs share, so that what is compared works on the same memory.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/tensor.hpp"

namespace trlm::adapt::bench {

/// Rows and columns of the tensor that jobs work on.
struct Extent {
    std::uint32_t rows = 0;
    std::uint32_t cols = 0;

    [[nodiscard]] std::uint64_t elements() const { return std::uint64_t{rows} * cols; }
    friend bool operator==(const Extent&, const Extent&) = default;
};

/// The name of every sample tensor: stochastic rounding depends on it.
inline constexpr std::string_view sample_name = "sample";

/// A tensor that owns its bytes.
struct SampleTensor {
    Dtype dtype = Dtype::f32;
    Shape shape;
    std::uint32_t block_size = 0;
    std::vector<std::byte> payload;
    std::vector<float> scales;

    [[nodiscard]] std::span<float> values() {  ///< of an f32 tensor
        return {reinterpret_cast<float*>(payload.data()), payload.size() / sizeof(float)};
    }
};

/// A sparse delta that owns its bytes.
struct SampleSparse {
    SparseEncoding encoding = SparseEncoding::index_list;
    std::vector<std::byte> positions;
    std::vector<float> values;

    [[nodiscard]] SparseDelta delta() const;
};

/// A low-rank delta that owns its bytes.
struct SampleLowRank {
    std::uint32_t rank = 0;
    float scale = 1;
    std::vector<float> a;
    std::vector<float> b;

    [[nodiscard]] LowRankDelta delta() const;
};

/// Buffers of one extent, each made when it is first asked for.
class Workbench {
public:
    explicit Workbench(Extent extent) : extent_(extent) {}

    [[nodiscard]] const Extent& extent() const { return extent_; }

    /// Values like a trained model's.
    [[nodiscard]] SampleTensor& tensor(Dtype dtype);

    /// A delta for every element; small against the tensor's values.
    [[nodiscard]] std::span<float> dense();

    /// A buffer of `extent` values for whoever needs it.
    [[nodiscard]] std::span<float> spare();

    /// `density` of the elements, evenly spread.
    [[nodiscard]] std::shared_ptr<SampleSparse> sparse(double density, SparseEncoding encoding);

    [[nodiscard]] std::shared_ptr<SampleLowRank> low_rank(std::uint32_t rank, std::uint64_t seed);

private:
    Extent extent_;
    SampleTensor tensors_[3];
    std::vector<float> dense_;
    std::vector<float> spare_;
};

}  // namespace trlm::adapt::bench
