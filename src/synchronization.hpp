#pragma once
// Bringing a file to the disk while something else is done with it.

#include <thread>
#include <utility>

#include "quietly.hpp"
#include "trlm/adapt/file.hpp"

namespace trlm::adapt {

/// A file on its way to the disk, on a thread of its own; where none can be had, `commit` sees to
/// all of it.
class Synchronization {
public:
    explicit Synchronization(OutputFile& file) {
        // Without a thread it is slower, not wrong.
        (void)quietly(
            [&] { thread_ = std::thread([this, &file] { status_ = file.synchronize(); }); });
    }
    Synchronization(const Synchronization&) = delete;
    Synchronization& operator=(const Synchronization&) = delete;
    ~Synchronization() {
        if (thread_.joinable()) thread_.join();
    }

    [[nodiscard]] Status finish() {
        if (thread_.joinable()) thread_.join();
        return std::move(status_);
    }

private:
    Status status_;
    std::thread thread_;
};

}  // namespace trlm::adapt
