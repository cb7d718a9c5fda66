// Pairs of jobs timed in turn in one process: what changes from minute to minute on a shared
// machine hits both, and the median of the pairwise ratios stays.

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>
#include <time.h>

#include "arguments.hpp"
#include "jobs.hpp"

namespace trlm::adapt::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view usage =
    "usage: ratios [--filter TEXT] [--rows N] [--cols N] [--rounds N] [--list]\n"
    "       ratios --job NAME [--rows N] [--cols N] [--rounds N]\n"
    "Times pairs of jobs in turn, or one job, and prints medians as JSON.\n"
    "  --filter TEXT   only comparisons whose id contains TEXT; may be given several times\n"
    "  --job NAME      one job alone, such as memory/read\n"
    "  --rows N        rows of the tensor (default 8192)\n"
    "  --cols N        columns of the tensor (default 8192); 256 x 256 stays in the cache\n"
    "  --rounds N      pairs of measurements (default 9)\n"
    "  --list          prints the ids and ends\n";

/// A measurement takes at least this long, so that neither clock nor start counts.
constexpr double shortest_seconds = 0.01;

struct Options {
    std::vector<std::string> filters;
    Extent extent{8192, 8192};
    std::uint64_t rounds = 9;
    std::string job;
    bool list = false;
};

/// What is timed: this thread's own time, which other programs on the machine do not add to, or,
/// where a job has several threads, the clock on the wall.
enum class Clock { thread, wall };

double now(Clock clock) {
    timespec time{};
    clock_gettime(clock == Clock::thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// A job with how often it runs in a measurement.
class Timed {
public:
    Timed(std::string name, Workbench& bench)
        : name_(std::move(name)), job_(find_job(name_).make(bench)) {}

    [[nodiscard]] std::size_t threads() const { return job_.threads; }
    [[nodiscard]] double bytes() const { return job_.bytes; }
    [[nodiscard]] double last() const { return seconds_.back(); }

    /// The first run touches the memory, those after it tell how often to run.
    void warm_up(Clock clock) {
        clock_ = clock;
        job_.run();
        while (seconds_of_all() < shortest_seconds)
            repetitions_ *= 2;
    }

    void measure() { seconds_.push_back(seconds_of_all() / static_cast<double>(repetitions_)); }

    [[nodiscard]] Json json() const;

private:
    [[nodiscard]] double seconds_of_all() const {
        const double start = now(clock_);
        for (std::size_t i = 0; i < repetitions_; ++i)
            job_.run();
        return now(clock_) - start;
    }

    std::string name_;
    Job job_;
    Clock clock_ = Clock::wall;
    std::size_t repetitions_ = 1;
    std::vector<double> seconds_;
};

double quantile(std::vector<double> values, double q) {
    std::ranges::sort(values);
    const double at = q * static_cast<double>(values.size() - 1);
    const auto low = static_cast<std::size_t>(at);
    const std::size_t high = std::min(low + 1, values.size() - 1);
    const double share = at - static_cast<double>(low);
    return values[low] * (1 - share) + values[high] * share;
}

Json Timed::json() const {
    const double median = quantile(seconds_, 0.5);
    Json json{{"job", name_},
              {"seconds", median},
              {"fastest_seconds", quantile(seconds_, 0)},
              {"bytes_per_second", job_.bytes / median}};
    if (job_.flops > 0) json["flops"] = job_.flops / median;
    return json;
}

double ratio_of(Measure measure, const Timed& ours, const Timed& reference) {
    switch (measure) {
        case Measure::speed:
            return reference.last() / ours.last();
        case Measure::rate:
            return (ours.bytes() / ours.last()) / (reference.bytes() / reference.last());
        case Measure::cost:
            break;
    }
    return ours.last() / reference.last();
}

Json measure(const Comparison& comparison, Workbench& bench, std::uint64_t rounds) {
    Timed ours(comparison.ours, bench);
    Timed reference(comparison.reference, bench);
    const Clock clock =
        ours.threads() == 1 && reference.threads() == 1 ? Clock::thread : Clock::wall;
    ours.warm_up(clock);
    reference.warm_up(clock);
    std::vector<double> ratios;
    for (std::uint64_t round = 0; round < rounds; ++round) {
        // Now the one first, now the other.
        Timed& first = round % 2 == 0 ? ours : reference;
        Timed& second = round % 2 == 0 ? reference : ours;
        first.measure();
        second.measure();
        ratios.push_back(ratio_of(comparison.measure, ours, reference));
    }
    return {{"id", comparison.id()},
            {"measure", to_string(comparison.measure)},
            {"ratio", quantile(ratios, 0.5)},
            {"low_quartile", quantile(ratios, 0.25)},
            {"high_quartile", quantile(ratios, 0.75)},
            {"rounds", rounds},
            {"clock", clock == Clock::thread ? "thread" : "wall"},
            {"ours", ours.json()},
            {"reference", reference.json()}};
}

Json measure_alone(const std::string& name, Workbench& bench, std::uint64_t rounds) {
    Timed job(name, bench);
    job.warm_up(job.threads() == 1 ? Clock::thread : Clock::wall);
    for (std::uint64_t round = 0; round < rounds; ++round)
        job.measure();
    return job.json();
}

bool selected(const Comparison& comparison, const std::vector<std::string>& filters) {
    return filters.empty() || std::ranges::any_of(filters, [&](const std::string& filter) {
               return comparison.id().find(filter) != std::string::npos;
           });
}

Options parse(Arguments arguments) {
    Options options;
    while (const auto option = arguments.next_option()) {
        if (*option == "--filter") {
            options.filters.emplace_back(arguments.value());
        } else if (*option == "--rows") {
            options.extent.rows = static_cast<std::uint32_t>(arguments.number(1, 1U << 20));
        } else if (*option == "--cols") {
            options.extent.cols = static_cast<std::uint32_t>(arguments.number(2, 1U << 20));
        } else if (*option == "--rounds") {
            options.rounds = arguments.number(1, 100'000);
        } else if (*option == "--job") {
            options.job = arguments.value();
        } else if (*option == "--list") {
            options.list = true;
        } else {
            arguments.refuse_option();
        }
    }
    arguments.expect_end();
    if (options.extent.cols % 2 != 0) arguments.refuse("--cols must be even");
    if (options.extent.elements() > std::uint64_t{1} << 32) {
        arguments.refuse("--rows times --cols must not pass 2^32");
    }
    return options;
}

int run(const Options& options) {
    if (!options.job.empty()) {
        Workbench bench(options.extent);
        std::printf("%s\n", measure_alone(options.job, bench, options.rounds).dump(1).c_str());
        return 0;
    }
    std::vector<Comparison> chosen;
    for (const Comparison& comparison : all_comparisons()) {
        if (selected(comparison, options.filters)) chosen.push_back(comparison);
    }
    if (chosen.empty()) {
        std::fputs("ratios: no comparison matches --filter (see --list)\n", stderr);
        return 2;
    }
    Json results = Json::array();
    Workbench bench(options.extent);
    for (const Comparison& comparison : chosen) {
        if (options.list) {
            std::printf("%s\n", comparison.id().c_str());
            continue;
        }
        Json result = measure(comparison, bench, options.rounds);
        std::fprintf(stderr, "%8.3f  %s\n", result["ratio"].get<double>(), comparison.id().c_str());
        results.push_back(std::move(result));
    }
    if (options.list) return 0;
    const Json document{{"rows", options.extent.rows},
                        {"cols", options.extent.cols},
                        {"comparisons", std::move(results)}};
    std::printf("%s\n", document.dump(1).c_str());
    return 0;
}

}  // namespace
}  // namespace trlm::adapt::bench

int main(int count, char** values) {
    using namespace trlm::adapt::bench;
    return run(parse(Arguments("ratios", usage, {values + 1, values + count})));
}
