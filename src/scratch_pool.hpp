#pragma once
// Buffers for whoever works on a tile.

#include <memory>
#include <mutex>
#include <vector>

#include "fuse.hpp"

namespace trlm::adapt {

/// Hands out scratch buffers, the last used first: its memory is still in the cache.
class ScratchPool {
public:
    [[nodiscard]] std::unique_ptr<FuseScratch> take() {
        const std::lock_guard lock(mutex_);
        if (free_.empty()) return std::make_unique<FuseScratch>();
        auto scratch = std::move(free_.back());
        free_.pop_back();
        return scratch;
    }

    void give(std::unique_ptr<FuseScratch> scratch) {
        const std::lock_guard lock(mutex_);
        free_.push_back(std::move(scratch));
    }

private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<FuseScratch>> free_;
};

}  // namespace trlm::adapt
