#include "encode.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "fp_environment.hpp"
#include "kernels/element.hpp"
#include "kernels/kernels.hpp"

namespace trlm::adapt {
namespace {

/// The scale that a group of finite values would need.
float needed_scale(Dtype dtype, std::span<const float> group) {
    const auto [least, most] = std::minmax_element(group.begin(), group.end());
    const float pos = std::max(0.0F, *most);
    const float neg = std::max(0.0F, -*least);
    return dtype == Dtype::q8_0 ? kernels::Q8::fit(pos, neg) : kernels::Q4::fit(pos, neg);
}

}  // namespace

std::size_t TensorEncoder::payload_bytes(std::uint64_t rows) const noexcept {
    return static_cast<std::size_t>(tensor_.payload_length / tensor_.shape.rows() * rows);
}

std::size_t TensorEncoder::scale_bytes(std::uint64_t rows) const noexcept {
    return static_cast<std::size_t>(tensor_.scale_length / tensor_.shape.rows() * rows);
}

Finding TensorEncoder::non_finite(std::uint64_t element, float value) const {
    return {.code = FindingCode::non_finite,
            .message = fmt::format("element {} is {}, but must be finite", element, value),
            .tensor = tensor_.name,
            .element = element,
            .expected = "finite",
            .actual = fmt::format("{}", value)};
}

Finding TensorEncoder::bad_scale(std::uint64_t group, float scale) const {
    const std::string expected = fmt::format("below 2^{}", std::ilogb(scale_bound(tensor_.dtype)));
    return {.code = FindingCode::bad_scale,
            .message = fmt::format("{} {} needs the scale {}, but a scale must be {}: its values "
                                   "are too large for {}",
                                   tensor_.dtype == Dtype::q8_0 ? "row" : "block", group, scale,
                                   expected, to_string(tensor_.dtype)),
            .tensor = tensor_.name,
            .element = group,
            .expected = expected,
            .actual = fmt::format("{}", scale)};
}

bool TensorEncoder::encode(std::span<const float> values, std::byte* payload, std::byte* scales,
                           Findings& findings) {
    if (values.empty()) return true;
    const FpEnvironment environment;
    const kernels::Table& kernels = kernels::best();
    const std::uint64_t first = element_;
    element_ += values.size();
    const std::size_t finite =
        kernels.first_non_finite(reinterpret_cast<const std::byte*>(values.data()), values.size());
    if (finite < values.size()) {
        findings.add(non_finite(first + finite, values[finite]));
        return false;
    }
    if (tensor_.dtype == Dtype::f32) {
        std::memcpy(payload, values.data(), values.size_bytes());
        return true;
    }
    // A row of q8_0 is a block of its whole length.
    const bool q8 = tensor_.dtype == Dtype::q8_0;
    kernels::GroupTile tile;
    tile.group_size = tensor_.block_size;
    tile.groups = values.size() / tile.group_size;
    tile.w = values.data();
    tile.scales = scales;
    if (!q8) codes_.resize(values.size());
    tile.codes = q8 ? reinterpret_cast<std::int8_t*>(payload) : codes_.data();
    const std::size_t stored = q8 ? kernels.encode_q8(tile) : kernels.encode_q4(tile);
    if (stored < tile.groups) {
        const auto group = values.subspan(stored * tile.group_size, tile.group_size);
        findings.add(
            bad_scale(first / tile.group_size + stored, needed_scale(tensor_.dtype, group)));
        return false;
    }
    if (!q8) kernels.pack_nibbles(codes_.data(), values.size(), payload);
    return true;
}

}  // namespace trlm::adapt
