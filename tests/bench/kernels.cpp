// Absolute times of every job of the catalogue, with Google Benchmark: NAME/memory works on buffers
// far larger than the caches, NAME/cache on some that stay in the second level.

#include <map>
#include <memory>
#include <string>

#include <benchmark/benchmark.h>

#include "jobs.hpp"

namespace trlm::adapt::bench {
namespace {

constexpr Extent in_memory{8192, 8192};
constexpr Extent in_cache{64, 1024};

/// The buffers of one extent; those of the other are freed.
Workbench& workbench_of(const Extent& extent) {
    static std::unique_ptr<Workbench> bench;
    if (!bench || !(bench->extent() == extent)) bench = std::make_unique<Workbench>(extent);
    return *bench;
}

void run(benchmark::State& state, const JobMaker& maker, const Extent& extent) {
    const Job job = maker.make(workbench_of(extent));
    job.run();
    for ([[maybe_unused]] auto _ : state)
        job.run();
    const auto iterations = static_cast<double>(state.iterations());
    state.SetBytesProcessed(static_cast<std::int64_t>(iterations * job.bytes));
    if (job.flops > 0) {
        state.counters["flops"] =
            benchmark::Counter(iterations * job.flops, benchmark::Counter::kIsRate);
    }
}

void register_all(const std::string& suffix, const Extent& extent) {
    for (const JobMaker& maker : all_jobs()) {
        auto* registered = benchmark::RegisterBenchmark(
            (maker.name + suffix).c_str(),
            [&maker, extent](benchmark::State& state) { run(state, maker, extent); });
        registered->Unit(benchmark::kMillisecond);
        if (maker.name.ends_with("threads")) registered->UseRealTime();
    }
}

}  // namespace
}  // namespace trlm::adapt::bench

int main(int count, char** values) {
    using namespace trlm::adapt::bench;
    benchmark::Initialize(&count, values);
    if (benchmark::ReportUnrecognizedArguments(count, values)) return 2;
    register_all("/memory", in_memory);
    register_all("/cache", in_cache);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
