#pragma once
// Asking the caller whether long work may go on.

#include <cstdint>

#include "quietly.hpp"
#include "trlm/adapt/progress.hpp"

namespace trlm::adapt {

/// False when the caller cancels; its exception is its way of doing so, and stays here.
[[nodiscard]] inline bool goes_on(const Progress& progress, std::uint64_t done_bytes,
                                  std::uint64_t total_bytes) noexcept {
    if (!progress) return true;
    bool answer = false;
    return quietly([&] { answer = progress(done_bytes, total_bytes); }) && answer;
}

}  // namespace trlm::adapt
