#pragma once
// File descriptors that close themselves, and calls that signals interrupt.

#include <cerrno>
#include <utility>

#include <unistd.h>

namespace trlm::adapt {

/// A file descriptor that closes itself.
class Descriptor {
public:
    explicit Descriptor(int number = -1) noexcept : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }

    [[nodiscard]] int number() const noexcept { return number_; }
    [[nodiscard]] bool valid() const noexcept { return number_ >= 0; }

    /// Gives the descriptor away: it is not closed here.
    void release() noexcept { number_ = -1; }

    /// Closes now; returns the error, or 0.
    [[nodiscard]] int close() noexcept {
        const int number = std::exchange(number_, -1);
        // After EINTR the descriptor is gone already on the systems that matter here.
        return number >= 0 && ::close(number) != 0 && errno != EINTR ? errno : 0;
    }

private:
    int number_;
};

/// Calls `operation` again for as long as signals interrupt it.
template <class Operation>
auto without_interruption(const Operation& operation) noexcept {
    auto result = operation();
    while (result < 0 && errno == EINTR)
        result = operation();
    return result;
}

}  // namespace trlm::adapt
