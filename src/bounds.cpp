#include "bounds.hpp"

#include <algorithm>
#include <cmath>

#include "fp_environment.hpp"

namespace trlm::adapt {

PlannedDelta bounded_delta(const Delta& delta, float strength,
                           const StoredMagnitudes& largest) noexcept {
    const FpEnvironment environment;
    double max_abs = std::fabs(static_cast<double>(strength)) * largest.values;
    if (const auto* low_rank = std::get_if<LowRankDelta>(&delta)) {
        // Neither the sum over k nor the factor in front of it may overflow on the way.
        const double sum = static_cast<double>(low_rank->rank) * largest.values * largest.b;
        const double factor = std::fabs(static_cast<double>(strength) * low_rank->scale);
        max_abs = std::max({sum, factor, sum * factor});
    }
    return {delta, strength, max_abs};
}

bool proves_finite(double max_abs, std::span<const PlannedDelta> deltas) noexcept {
    const FpEnvironment environment;
    // Each of at most a few thousand roundings enlarges a value by 2^-24 of it at most. Below 2^127
    // a value is finite, and so small that its scale (a 127th, 7th or 8th of it) is in bounds.
    constexpr double roundings = 1.0 + 0x1p-10;
    constexpr double limit = 0x1p127;
    for (const PlannedDelta& delta : deltas)
        max_abs += delta.max_abs;
    return max_abs * roundings < limit;
}

}  // namespace trlm::adapt
