#include "trlm/adapt/rounding.hpp"

#include <charconv>

#include <fmt/format.h>

#include "guard.hpp"

namespace trlm::adapt {

std::string to_string(const Rounding& rounding) {
    switch (rounding.mode) {
        case RoundingMode::nearest:
            return "nearest";
        case RoundingMode::stochastic:
            return fmt::format("stochastic:{}", rounding.seed);
        case RoundingMode::adaptive:
            break;
    }
    return fmt::format("adaptive:{}", rounding.seed);
}

Result<Rounding> parse_rounding(std::string_view text) {
    return guarded([&]() -> Result<Rounding> {
        if (text == "nearest") return Rounding{RoundingMode::nearest, 0};
        const auto colon = text.find(':');
        const std::string_view mode = text.substr(0, colon);
        if (colon != std::string_view::npos && (mode == "stochastic" || mode == "adaptive")) {
            const std::string_view digits = text.substr(colon + 1);
            std::uint64_t seed = 0;
            const char* end = digits.data() + digits.size();
            const auto parsed = std::from_chars(digits.data(), end, seed);
            if (!digits.empty() && parsed.ec == std::errc{} && parsed.ptr == end) {
                return Rounding{
                    mode == "adaptive" ? RoundingMode::adaptive : RoundingMode::stochastic, seed};
            }
        }
        Finding finding;
        finding.code = FindingCode::usage_error;
        finding.message = fmt::format(
            "'{}' is not a rounding; it is nearest, stochastic:SEED or adaptive:SEED, where SEED "
            "is "
            "a whole number from 0 to 18446744073709551615",
            text);
        finding.expected = "nearest, stochastic:SEED or adaptive:SEED";
        finding.actual = std::string(text);
        return failure(std::move(finding));
    });
}

}  // namespace trlm::adapt
