#pragma once
// A tensor in two models, part by part.

#include <cstdint>
#include <string>
#include <vector>

#include "decode.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt {

/// The tensor of one name in both models of a pair that `check_pair` accepts.
struct TensorPair {
    TensorView base;
    TensorView tuned;
    std::size_t base_index = 0;  ///< in the base's directory

    [[nodiscard]] std::uint64_t elements() const noexcept { return base.shape.elements().value(); }
};

/// All tensors of both by ascending name hash, the order of a package's directory.
[[nodiscard]] std::vector<TensorPair> pair_tensors(const Model& base, const Model& tuned);

/// Whole rows of both, decoded, and what leads from the one to the other, rounded once.
struct PairPart {
    std::uint64_t first = 0;  ///< flat index of the first element
    std::vector<float> base;
    std::vector<float> tuned;
    std::vector<float> delta;
};

/// Hands over a tensor's parts in order until `take` returns false; the caller is inside an
/// FpEnvironment. Memory is that of some rows.
template <class Take>
bool for_each_part(const TensorPair& pair, const Take& take) {
    constexpr std::uint64_t part_elements = 65'536;
    const std::uint64_t cols = pair.base.shape.cols();
    const std::uint64_t rows_at_once = part_elements / cols == 0 ? 1 : part_elements / cols;
    const std::uint64_t step = rows_at_once * cols;
    PairPart part;
    for (; part.first < pair.elements(); part.first += step) {
        const std::uint64_t left = pair.elements() - part.first;
        const auto count = static_cast<std::size_t>(left < step ? left : step);
        part.base.resize(count);
        part.tuned.resize(count);
        part.delta.resize(count);
        decode_values(pair.base, part.first, part.base);
        decode_values(pair.tuned, part.first, part.tuned);
        for (std::size_t i = 0; i < count; ++i)
            part.delta[i] = part.tuned[i] - part.base[i];
        if (!take(part)) return false;
    }
    return true;
}

}  // namespace trlm::adapt
