#pragma once
// Which token comes next.

#include <cstdint>
#include <span>

#include <trlm/adapt/result.hpp>

namespace engine {

namespace adapt = trlm::adapt;

/// SplitMix64: a counter in steps of an odd constant, its bits mixed. The same seed gives the same
/// numbers on every machine.
class Random {
public:
    explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

    /// Uniform in [0, 1): the upper 53 bits of the next number.
    [[nodiscard]] double next() noexcept;

private:
    std::uint64_t state_;
};

/// How a token is chosen. All limits apply, in this order.
struct SamplingOptions {
    bool greedy = false;       ///< always the likeliest; the rest has no meaning then
    double temperature = 0.5;  ///< scores are divided by it: below 1 bolder choices are rarer
    std::uint32_t top_k = 0;   ///< only the so many likeliest tokens; 0: all
    double top_p = 1;          ///< only the likeliest tokens that together reach this probability
    std::uint64_t seed = 0;
};

/// `usage_error` for a temperature that is not finite and above 0, or a top_p outside (0, 1].
[[nodiscard]] adapt::Status check(const SamplingOptions& options);

/// Chooses tokens, one after the other.
class Sampler {
public:
    explicit Sampler(const SamplingOptions& options) noexcept
        : options_(options), random_(options.seed) {}

    /// A token by the scores of all, which are finite. Of two with the same score the one with the
    /// smaller id counts as likelier. O(vocab log vocab).
    [[nodiscard]] std::uint32_t next(std::span<const float> scores);

private:
    SamplingOptions options_;
    Random random_;
};

}  // namespace engine
