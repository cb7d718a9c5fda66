#include "progress.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.hpp"

namespace trlm::adapt::cli {
namespace {

constexpr std::array stopping_signals = {SIGINT, SIGTERM, SIGHUP};

// What the handlers may touch: nothing but lock-free flags.
volatile std::sig_atomic_t requested_signal = 0;
volatile std::sig_atomic_t lost_input = 0;
std::array<struct sigaction, stopping_signals.size()> previous_actions{};

extern "C" void note_stop_request(int signal) {
    requested_signal = signal;
}

// Puts zeros where the bytes of a mapped file should be, so that the reader goes on to find that
// they are wrong. Any other SIGBUS ends the process when it comes again.
extern "C" void replace_lost_page(int signal, siginfo_t* info, void*) {
    const auto page_size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    void* const page = static_cast<char*>(info->si_addr) - address % page_size;
    constexpr int flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
    const bool sent_by_a_process = info->si_code <= 0;
    if (sent_by_a_process || ::mmap(page, page_size, PROT_READ, flags, -1, 0) == MAP_FAILED) {
        std::signal(signal, SIG_DFL);
        if (sent_by_a_process) std::raise(signal);
        return;
    }
    lost_input = 1;
}

struct sigaction action_of(void (*handler)(int)) noexcept {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    return action;
}

}  // namespace

StopRequests::StopRequests() {
    const struct sigaction noting = action_of(&note_stop_request);
    for (std::size_t i = 0; i < stopping_signals.size(); ++i) {
        ::sigaction(stopping_signals[i], nullptr, &previous_actions[i]);
        if (previous_actions[i].sa_handler == SIG_IGN) continue;
        ::sigaction(stopping_signals[i], &noting, nullptr);
    }
}

StopRequests::~StopRequests() {
    for (std::size_t i = 0; i < stopping_signals.size(); ++i) {
        ::sigaction(stopping_signals[i], &previous_actions[i], nullptr);
    }
}

int stop_signal() noexcept {
    return requested_signal;
}

void end_by_signal(int signal) noexcept {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    std::_Exit(128 + signal);  // not reached unless the signal is blocked
}

void install_signal_handlers() noexcept {
    const struct sigaction ignoring = action_of(SIG_IGN);
    ::sigaction(SIGPIPE, &ignoring, nullptr);
    ::sigaction(SIGXFSZ, &ignoring, nullptr);
    struct sigaction replacing {};
    replacing.sa_sigaction = &replace_lost_page;
    replacing.sa_flags = SA_SIGINFO;
    ::sigemptyset(&replacing.sa_mask);
    ::sigaction(SIGBUS, &replacing, nullptr);
}

bool input_was_lost() noexcept {
    return lost_input != 0;
}

namespace {

struct WatchedInput {
    std::string path;
    struct stat status;
};

std::vector<WatchedInput>& watched_inputs() {
    static std::vector<WatchedInput> inputs;
    return inputs;
}

/// Seconds and nanoseconds.
std::pair<std::int64_t, std::int64_t> written_at(const struct stat& status) noexcept {
#if defined(__APPLE__)
    return {status.st_mtimespec.tv_sec, status.st_mtimespec.tv_nsec};
#else
    return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
#endif
}

bool was_changed(const WatchedInput& input) noexcept {
    struct stat now {};
    const struct stat& then = input.status;
    // One that was replaced is still read as it was.
    return ::stat(input.path.c_str(), &now) == 0 && now.st_dev == then.st_dev &&
           now.st_ino == then.st_ino &&
           (now.st_size != then.st_size || written_at(now) != written_at(then));
}

}  // namespace

void watch_input(const std::string& path) {
    WatchedInput input{.path = path, .status = {}};
    if (::stat(path.c_str(), &input.status) == 0) watched_inputs().push_back(std::move(input));
}

bool input_was_changed() noexcept {
    const std::vector<WatchedInput>& inputs = watched_inputs();
    return std::any_of(inputs.begin(), inputs.end(), was_changed);
}

bool inputs_are_whole() noexcept {
    return !input_was_lost() && !input_was_changed();
}

void forget_inputs() noexcept {
    watched_inputs().clear();
}

ProgressBar::ProgressBar(std::string label, bool shown)
    : label_(std::move(label)),
      shown_(shown && ::isatty(STDERR_FILENO) != 0),
      next_(start_ + std::chrono::milliseconds(500)) {}

ProgressBar::~ProgressBar() {
    clear();
}

bool ProgressBar::update(std::uint64_t done, std::uint64_t total) {
    const auto now = Clock::now();
    if (shown_ && now >= next_) {
        next_ = now + std::chrono::milliseconds(100);
        visible_ = true;
        (void)write_all(STDERR_FILENO, line(done, total, now));
    }
    return stop_signal() == 0 && inputs_are_whole();
}

void ProgressBar::clear() {
    if (!visible_) return;
    visible_ = false;
    (void)write_all(STDERR_FILENO, "\r\x1b[K");
}

std::string ProgressBar::line(std::uint64_t done, std::uint64_t total,
                              Clock::time_point now) const {
    constexpr std::size_t cells = 30;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double share =
        total == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const auto filled = static_cast<std::size_t>(share * cells);
    const auto speed = static_cast<std::uint64_t>(static_cast<double>(done) / seconds);
    std::string line =
        fmt::format("\r\x1b[K{} [{}{}] {:3.0f} %  {}/s", label_, std::string(filled, '='),
                    std::string(cells - filled, ' '), share * 100, short_byte_size(speed));
    if (share > 0) line += fmt::format("  {:.0f} s left", seconds * (1 - share) / share);
    return line;
}

}  // namespace trlm::adapt::cli
