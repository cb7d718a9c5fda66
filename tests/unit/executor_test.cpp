#include "trlm/adapt/executor.hpp"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using namespace trlm::adapt;

TEST_CASE("one thread needs no pool") {
    CHECK(!make_executor(1).parallel_for);
    CHECK(make_executor(1).concurrency == 1);
}

TEST_CASE("every task runs exactly once") {
    for (const std::size_t threads : {2U, 3U, 7U}) {
        const Executor executor = make_executor(threads);
        CHECK(executor.concurrency == threads);
        for (const std::size_t count : {0U, 1U, 2U, 5U, 1000U}) {
            std::vector<std::atomic<int>> runs(count);
            executor.parallel_for(count, [&](std::size_t i) { ++runs[i]; });
            for (const auto& run : runs)
                CHECK(run == 1);
        }
    }
}

TEST_CASE("tasks of one call run at the same time") {
    const Executor executor = make_executor(2);
    std::atomic<int> waiting = 0;
    // Each waits for the other: one thread alone would never finish.
    executor.parallel_for(2, [&](std::size_t) {
        ++waiting;
        while (waiting < 2)
            std::this_thread::yield();
    });
    CHECK(waiting == 2);
}

TEST_CASE("copies share the threads, and calls from several threads take turns") {
    const Executor executor = make_executor(3);
    std::atomic<int> runs = 0;
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller) {
        callers.emplace_back([copy = executor, &runs] {
            for (int call = 0; call < 50; ++call) {
                copy.parallel_for(5, [&](std::size_t) { ++runs; });
            }
        });
    }
    for (auto& caller : callers)
        caller.join();
    CHECK(runs == 4 * 50 * 5);
}
