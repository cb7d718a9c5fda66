#pragma once
// How a changed quantized row or block is rounded.  docs/formats.md, section 4

#include <cstdint>
#include <string>
#include <string_view>

#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The name of the arithmetic, recorded in receipts.
inline constexpr std::string_view arithmetic_name = "trlm-f32-unfused@1";

/// nearest drops deltas below half a step; stochastic keeps them on average; adaptive takes
/// stochastic where the largest change of a row or block is below three quarters of its step.
enum class RoundingMode : std::uint8_t { nearest, stochastic, adaptive };

/// A rounding, with the seed of its random numbers (unused by nearest).
struct Rounding {
    RoundingMode mode = RoundingMode::adaptive;  ///< in which way
    std::uint64_t seed = 0;                      ///< from which random numbers are made
    friend bool operator==(const Rounding&, const Rounding&) = default;
};

/// "nearest", "stochastic:SEED" or "adaptive:SEED".
[[nodiscard]] std::string to_string(const Rounding& rounding);

/// The inverse of `to_string`; SEED is a decimal u64. `usage_error` for any other text.
[[nodiscard]] Result<Rounding> parse_rounding(std::string_view text);

}  // namespace trlm::adapt
#pragma GCC visibility pop
