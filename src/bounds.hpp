#pragma once
// How large deltas can be, from the largest magnitudes of what is stored.

#include "trlm/adapt/plan.hpp"

namespace trlm::adapt {

/// The largest magnitudes of a delta's values; of a low-rank one's A and B.
struct StoredMagnitudes {
    float values = 0;  ///< or of A
    float b = 0;
};

/// A delta that is known to be no larger than that. O(1).
[[nodiscard]] PlannedDelta bounded_delta(const Delta& delta, float strength,
                                         const StoredMagnitudes& largest) noexcept;

}  // namespace trlm::adapt
