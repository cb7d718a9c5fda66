#include "sampler.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

namespace engine {
namespace {

struct Candidate {
    std::uint32_t token = 0;
    double weight = 0;  // its score, then its probability before normalization
};

/// All tokens, the likeliest first.
std::vector<Candidate> ranked(std::span<const float> scores) {
    std::vector<Candidate> candidates(scores.size());
    for (std::size_t i = 0; i < scores.size(); ++i) {
        candidates[i] = {static_cast<std::uint32_t>(i), static_cast<double>(scores[i])};
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
    return candidates;
}

double total(std::span<const Candidate> candidates) {
    return std::accumulate(candidates.begin(), candidates.end(), 0.0,
                           [](double sum, const Candidate& next) { return sum + next.weight; });
}

/// How many of the first candidates have a sum of weights that reaches `share`; at least one.
std::size_t count_reaching(std::span<const Candidate> candidates, double share) {
    double sum = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        sum += candidates[i].weight;
        if (sum >= share) return i + 1;
    }
    return candidates.size();
}

}  // namespace

double Random::next() noexcept {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebULL;
    mixed ^= mixed >> 31U;
    return std::ldexp(static_cast<double>(mixed >> 11U), -53);
}

adapt::Status check(const SamplingOptions& options) {
    if (!std::isfinite(options.temperature) || options.temperature <= 0) {
        return adapt::failure({.code = adapt::FindingCode::usage_error,
                               .message = "the temperature is a number above 0; for the likeliest "
                                          "token give --greedy"});
    }
    if (!(options.top_p > 0 && options.top_p <= 1)) {
        return adapt::failure({.code = adapt::FindingCode::usage_error,
                               .message = "top-p is a probability above 0 and at most 1"});
    }
    return {};
}

std::uint32_t Sampler::next(std::span<const float> scores) {
    if (options_.greedy) {
        const auto likeliest = std::max_element(scores.begin(), scores.end());
        return static_cast<std::uint32_t>(likeliest - scores.begin());
    }
    std::vector<Candidate> candidates = ranked(scores);
    if (options_.top_k != 0 && options_.top_k < candidates.size()) {
        candidates.resize(options_.top_k);
    }
    const double best = candidates.front().weight;
    for (Candidate& candidate : candidates) {
        candidate.weight = std::exp((candidate.weight - best) / options_.temperature);
    }
    candidates.resize(count_reaching(candidates, options_.top_p * total(candidates)));
    const double drawn = random_.next() * total(candidates);
    return candidates[count_reaching(candidates, drawn) - 1].token;
}

}  // namespace engine
