#include "forecasting.hpp"

#include <fmt/format.h>

#include "progress.hpp"
#include "survival.hpp"

namespace trlm::adapt::cli {

Result<ForecastRequest> understand_forecast(const std::optional<std::string>& target,
                                            const std::string& rounding,
                                            const std::string& threads) {
    Findings findings;
    ForecastRequest request{.target = target};
    const Result<Rounding> how = parse_rounding(rounding);
    if (succeeded(how, findings)) request.options.rounding = *how;
    const Result<std::string> simd_target = chosen_simd_target();
    if (succeeded(simd_target, findings)) request.options.simd_target = *simd_target;
    const Result<std::size_t> count = parse_threads(threads);
    if (!succeeded(count, findings) || findings.has_errors()) return failure(std::move(findings));
    if (target) request.options.executor = make_executor(*count);
    return request;
}

Result<Forecast> forecast_on(const ModelInput& target, std::span<const StackMember> stack,
                             const ForecastRequest& request, bool progress) {
    ProgressBar bar("forecasting", progress);
    PageRelease pages({&target.file});
    ApplyOptions options = request.options;
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
        pages.update(done);
        return bar.update(done, total);
    };
    Result<Forecast> result = forecast(target.model, stack, options);
    if (result) {
        result->warnings.set_file(target.path);
        return result;
    }
    Findings findings = std::move(result).error();
    findings.set_file(target.path);
    return failure(std::move(findings));
}

Json forecast_json(const ForecastRequest& request, const Forecast& forecast) {
    return {{"target", *request.target},
            {"rounding", to_string(request.options.rounding)},
            {"zero_effect", forecast.zero_effect},
            {"kept", forecast.kept},
            {"snr_db", forecast.snr_db ? Json(*forecast.snr_db) : Json(nullptr)},
            {"tensors", survival_json(forecast.tensors)}};
}

std::string forecast_text(const ForecastRequest& request, const Forecast& forecast,
                          const Style& style) {
    return fmt::format("\nWhat would be left of it on {} ({})\n",
                       style.paint(Paint::bold, printable(*request.target)),
                       to_string(request.options.rounding)) +
           survival_table(forecast.tensors, style);
}

}  // namespace trlm::adapt::cli
