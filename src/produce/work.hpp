#pragma once
// How far a producer is, and whether it was told to stop.

#include <cstdint>

#include "going_on.hpp"
#include "publish.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// Counts what is done of a total that is known before.
class Work {
public:
    Work(const Progress& progress, std::uint64_t total) : progress_(progress), total_(total) {}

    /// `output_failed` when the caller cancels.
    [[nodiscard]] Status advance(std::uint64_t bytes) {
        done_ += bytes;
        if (!goes_on(progress_, done_, total_)) return failure(cancelled_before_publishing());
        return {};
    }

private:
    const Progress& progress_;
    std::uint64_t total_;
    std::uint64_t done_ = 0;
};

}  // namespace trlm::adapt
