#pragma once
// Encoders for whole new values: what a model quantized by this project holds.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt {

/// Encodes one tensor, rows at a time and in order, rounding to nearest.
class TensorEncoder {
public:
    /// Findings of `encode` name `tensor`, which must outlive the object.
    explicit TensorEncoder(const ModelTensor& tensor) : tensor_(tensor) {}

    /// Bytes of the payload and of the scales that `rows` rows take.
    [[nodiscard]] std::size_t payload_bytes(std::uint64_t rows) const noexcept;
    [[nodiscard]] std::size_t scale_bytes(std::uint64_t rows) const noexcept;

    /// Encodes the next whole rows, writing `payload_bytes` and `scale_bytes` of them. False after
    /// `non_finite` or `bad_scale` for the first value, row or block that cannot be stored.
    [[nodiscard]] bool encode(std::span<const float> values, std::byte* payload, std::byte* scales,
                              Findings& findings);

private:
    [[nodiscard]] Finding non_finite(std::uint64_t element, float value) const;
    [[nodiscard]] Finding bad_scale(std::uint64_t group, float scale) const;

    const ModelTensor& tensor_;
    std::uint64_t element_ = 0;       // the first of the next rows
    std::vector<std::int8_t> codes_;  // q4_0, one byte each
};

}  // namespace trlm::adapt
