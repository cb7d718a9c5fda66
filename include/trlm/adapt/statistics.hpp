#pragma once
// Statistics of a tensor's or a delta's values, for people who look.

#include <cstdint>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt {

/// Of decoded values, in double, in element order.
struct Statistics {
    std::uint64_t count = 0;
    std::uint64_t zeros = 0;
    double min = 0;
    double max = 0;
    double mean = 0;
    double rms = 0;
};

/// Of tensor `index` of a model. O(elements).
[[nodiscard]] Statistics tensor_statistics(const Model& model, std::size_t index);

/// Of the stored values of entry `index`: all (ADP1), the stored ones (ASP1), or those of both
/// factors A and B (ALR1). O(stored values).
[[nodiscard]] Statistics entry_statistics(const Package& package, std::size_t index);

}  // namespace trlm::adapt
