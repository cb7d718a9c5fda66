#pragma once
// Where parallel work runs, so that an engine can lend its own pool.

#include <cstddef>
#include <functional>

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Calls task(0) .. task(count - 1), each exactly once, on any threads and in any order, and
/// returns when all have returned. A task never throws and never waits for another.
using ParallelFor =
    std::function<void(std::size_t count, const std::function<void(std::size_t)>& task)>;

/// A way to run work in parallel.
struct Executor {
    ParallelFor parallel_for;     ///< empty: everything runs on the calling thread
    std::size_t concurrency = 1;  ///< how many tasks run at once; sizes the buffers
};

/// An executor with `threads` threads, the calling one included; 0 means one per processor. Where
/// system or memory do not allow as many there are fewer, down to the calling one alone. The
/// threads live as long as a copy of the executor.
[[nodiscard]] Executor make_executor(std::size_t threads);

}  // namespace trlm::adapt
#pragma GCC visibility pop
