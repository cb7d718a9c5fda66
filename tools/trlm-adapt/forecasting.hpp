#pragma once
// What would be left of packages on a model, for commands that make packages.

#include <optional>
#include <span>
#include <string>

#include "inputs.hpp"
#include "report.hpp"
#include "trlm/adapt/produce/forecast.hpp"

namespace trlm::adapt::cli {

/// What `--target`, `--rounding` and `--threads` ask for.
struct ForecastRequest {
    std::optional<std::string> target = {};
    ApplyOptions options = {};
};

/// The request, checked as far as that goes without reading the target.
[[nodiscard]] Result<ForecastRequest> understand_forecast(const std::optional<std::string>& target,
                                                          const std::string& rounding,
                                                          const std::string& threads);

/// Applies the stack to the target without keeping anything. Findings name the target.
[[nodiscard]] Result<Forecast> forecast_on(const ModelInput& target,
                                           std::span<const StackMember> stack,
                                           const ForecastRequest& request, bool progress);

/// `forecast` of docs/cli.md.
[[nodiscard]] Json forecast_json(const ForecastRequest& request, const Forecast& forecast);

/// The same for people.
[[nodiscard]] std::string forecast_text(const ForecastRequest& request, const Forecast& forecast,
                                        const Style& style);

}  // namespace trlm::adapt::cli
