#pragma once
// Statistics of a tensor's or a delta's values, for people who look.

#include <cstdint>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/slm1.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Of decoded values, in double, in element order.
struct Statistics {
    std::uint64_t count = 0;  ///< values that were looked at
    std::uint64_t zeros = 0;  ///< those that are 0, of either sign
    double min = 0;           ///< the least
    double max = 0;           ///< the greatest
    double mean = 0;          ///< sum of the values / count
    double rms = 0;           ///< root of the mean square
};

/// Of tensor `index` of a model. O(elements).
[[nodiscard]] Statistics tensor_statistics(const Model& model, std::size_t index);

/// Of the stored values of entry `index`: all (ADP1), the stored ones (ASP1), or those of both
/// factors A and B (ALR1). O(stored values).
[[nodiscard]] Statistics entry_statistics(const Package& package, std::size_t index);

}  // namespace trlm::adapt
#pragma GCC visibility pop
