#include "trlm/adapt/produce/forecast.hpp"

#include <utility>

#include "guard.hpp"

namespace trlm::adapt {

Result<Forecast> forecast(const Model& target, std::span<const StackMember> stack,
                          const ApplyOptions& options, OutputDtype output_dtype) {
    return guarded([&]() -> Result<Forecast> {
        const auto plan = plan_apply(target, stack, output_dtype);
        if (!plan) return failure(plan.error());
        ApplyOptions measuring = options;
        measuring.survival = true;
        measuring.allow_no_effect = true;
        auto report = apply_to_sink(
            *plan, [](Bytes) { return true; }, measuring);
        if (!report) return failure(std::move(report.error()));
        Forecast result;
        result.tensors = std::move(report->tensors);
        result.kept = report->kept.value_or(0);
        result.snr_db = snr_db_of_stack(result.tensors);
        result.zero_effect = report->zero_effect;
        result.warnings = std::move(report->warnings);
        return result;
    });
}

}  // namespace trlm::adapt
