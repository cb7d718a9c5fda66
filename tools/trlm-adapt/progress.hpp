#pragma once
// Long work: a bar that shows how far it is, and signals that end it without leaving anything.

#include <chrono>
#include <cstdint>
#include <string>

#include "table.hpp"

namespace trlm::adapt::cli {

/// While one lives, SIGINT, SIGTERM and SIGHUP ask the work to stop instead of ending the process
/// at once, so that a temporary file can be removed. Signals that were ignored stay so (nohup).
class StopRequests {
public:
    StopRequests();
    ~StopRequests();
    StopRequests(const StopRequests&) = delete;
    StopRequests& operator=(const StopRequests&) = delete;
};

/// The signal that asked to stop, or 0.
[[nodiscard]] int stop_signal() noexcept;

/// Ends the process by `signal`, as it would have without a handler.
[[noreturn]] void end_by_signal(int signal) noexcept;

/// From now on a write that fails gives an error instead of ending the process (SIGPIPE, SIGXFSZ),
/// and bytes of a mapped file that went away read as zero and are noted (SIGBUS).
void install_signal_handlers() noexcept;

/// True when a mapped file could not be read to its end: it shrank, or its disk failed.
[[nodiscard]] bool input_was_lost() noexcept;

/// Remembers how large a file is and when it was written last.
void watch_input(const std::string& path);

/// True when a watched file, itself and not another of its name, was written meanwhile.
[[nodiscard]] bool input_was_changed() noexcept;

/// What was read until now is what lies there: none was lost, none was changed.
[[nodiscard]] bool inputs_are_whole() noexcept;

/// Watches none any more: what was made of them has its name, and what becomes of them from then on
/// makes it no less right.
void forget_inputs() noexcept;

/// A bar on stderr for work that lasts over half a second, when stderr is a terminal. It clears
/// itself.
class ProgressBar {
public:
    /// `shown`: false keeps it silent, as does a stderr that is no terminal.
    ProgressBar(std::string label, bool shown);
    ~ProgressBar();
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    /// Shows how much is done; returns false when the work is to stop.
    bool update(std::uint64_t done, std::uint64_t total);

    /// Removes the bar.
    void clear();

private:
    using Clock = std::chrono::steady_clock;
    [[nodiscard]] std::string line(std::uint64_t done, std::uint64_t total,
                                   Clock::time_point now) const;
    std::string label_;
    bool shown_;
    bool visible_ = false;
    Clock::time_point start_ = Clock::now();
    Clock::time_point next_;
};

}  // namespace trlm::adapt::cli
