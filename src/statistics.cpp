#include "trlm/adapt/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <variant>

#include "fp_environment.hpp"
#include "trlm/adapt/bytes.hpp"

namespace trlm::adapt {
namespace {

/// Values one after another.
class Accumulator {
public:
    void add(float value) noexcept {
        const double wide = value;
        result_.min = result_.count == 0 ? wide : std::min(result_.min, wide);
        result_.max = result_.count == 0 ? wide : std::max(result_.max, wide);
        ++result_.count;
        if (value == 0) ++result_.zeros;
        sum_ += wide;
        squares_ += wide * wide;
    }

    void add(Bytes values) noexcept {
        for (std::uint64_t offset = 0; offset < values.size(); offset += sizeof(float)) {
            add(load<float>(values, offset));
        }
    }

    [[nodiscard]] Statistics finish() const noexcept {
        Statistics result = result_;
        if (result.count == 0) return result;
        const auto count = static_cast<double>(result.count);
        result.mean = sum_ / count;
        result.rms = std::sqrt(squares_ / count);
        return result;
    }

private:
    Statistics result_;
    double sum_ = 0;
    double squares_ = 0;
};

float code_of(const TensorView& tensor, std::uint64_t element) noexcept {
    if (tensor.dtype == Dtype::q8_0) {
        return static_cast<float>(load<std::int8_t>(tensor.payload, element));
    }
    const int byte = load<std::uint8_t>(tensor.payload, element / 2);
    const int nibble = element % 2 == 0 ? byte & 0xf : byte >> 4;
    return static_cast<float>(nibble < 8 ? nibble : nibble - 16);
}

}  // namespace

Statistics tensor_statistics(const Model& model, std::size_t index) {
    const FpEnvironment environment;
    const TensorView tensor = model.view(index);
    Accumulator values;
    if (tensor.dtype == Dtype::f32) {
        values.add(tensor.payload);
        return values.finish();
    }
    const std::uint64_t elements = tensor.shape.elements().value();
    for (std::uint64_t first = 0; first < elements; first += tensor.block_size) {
        const auto scale = load<float>(tensor.scales, first / tensor.block_size * sizeof(float));
        for (std::uint64_t i = first; i < first + tensor.block_size; ++i) {
            values.add(code_of(tensor, i) * scale);
        }
    }
    return values.finish();
}

Statistics entry_statistics(const Package& package, std::size_t index) {
    const FpEnvironment environment;
    Accumulator values;
    const Delta delta = package.delta(index);
    if (const auto* dense = std::get_if<DenseDelta>(&delta)) values.add(dense->values);
    if (const auto* sparse = std::get_if<SparseDelta>(&delta)) values.add(sparse->values);
    if (const auto* low_rank = std::get_if<LowRankDelta>(&delta)) {
        values.add(low_rank->a);
        values.add(low_rank->b);
    }
    return values.finish();
}

}  // namespace trlm::adapt
