#pragma once
// Everything that is timed in memory, by name, and which of it is compared with which.

#include <functional>
#include <string>
#include <vector>

#include "workbench.hpp"

namespace trlm::adapt::bench {

/// A piece of work that can be done any number of times.
struct Job {
    std::function<void()> run;
    double bytes = 0;  ///< moved to and from memory, each once
    double flops = 0;  ///< of low-rank products
    std::size_t threads = 1;
};

/// How to make a job on a workbench, which must outlive it.
struct JobMaker {
    std::string name;  ///< "dense/f32", "low-rank/8", "low-rank/8/blas", ...
    std::function<Job(Workbench&)> make;
};

/// All jobs.
[[nodiscard]] const std::vector<JobMaker>& all_jobs();

/// The job of that name; there must be one.
[[nodiscard]] const JobMaker& find_job(const std::string& name);

/// What the ratio of two jobs says.
enum class Measure {
    speed,  ///< how many times as fast
    rate,   ///< bytes a second, as a share of the reference's
    cost,   ///< how many times as much time
};

/// "speed", "rate", "cost".
[[nodiscard]] std::string to_string(Measure measure);

/// Two jobs that are timed in turn.
struct Comparison {
    std::string ours;
    std::string reference;
    Measure measure = Measure::speed;

    [[nodiscard]] std::string id() const { return ours + " : " + reference; }
};

/// All comparisons.
[[nodiscard]] const std::vector<Comparison>& all_comparisons();

}  // namespace trlm::adapt::bench
