#include "effects.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "fp_environment.hpp"

namespace trlm::adapt {

Finding make_finding(FindingCode code, std::string message) {
    Finding finding;
    finding.code = code;
    finding.message = std::move(message);
    return finding;
}

Finding fused_non_finite(const TensorView& tensor, std::uint64_t place) {
    const std::string_view unit = tensor.dtype == Dtype::f32    ? "element"
                                  : tensor.dtype == Dtype::q8_0 ? "row"
                                                                : "block";
    Finding finding = make_finding(
        FindingCode::fused_non_finite,
        fmt::format("with the stack applied, {} {} is the first that is not finite or whose scale "
                    "is too large for {}; lower a strength or leave out the adapter that causes it",
                    unit, place, to_string(tensor.dtype)));
    finding.tensor = tensor_label(tensor.name, tensor.name_hash);
    finding.element = place;
    return finding;
}

TensorSurvival no_survival_yet(const TensorView& tensor) {
    TensorSurvival survival;
    survival.name = tensor_label(tensor.name, tensor.name_hash);
    survival.elements = tensor.shape.elements().value();
    return survival;
}

void add_survival(TensorSurvival& tensor, std::span<const kernels::RowSurvival> rows) {
    const FpEnvironment environment;
    for (const kernels::RowSurvival& row : rows) {
        tensor.touched += row.touched;
        tensor.changed += row.changed;
        tensor.max_abs_delta = std::max(tensor.max_abs_delta, row.max_abs_delta);
        tensor.intended_effective += row.intended_effective;
        tensor.intended_squared += row.intended_squared;
        tensor.effective_squared += row.effective_squared;
        tensor.error_squared += row.error_squared;
    }
}

/// The stack has an effect, but little of it is what was intended.
Finding mostly_lost(const ApplyOptions& options, const ApplyReport& report) {
    const auto decibels = snr_db_of_stack(report.tensors);
    const bool adaptive = options.rounding.mode == RoundingMode::adaptive;
    Finding finding = make_finding(
        FindingCode::survival_below_threshold,
        fmt::format("rounding leaves {:.1f} % of the intended change{}; there are three ways out: "
                    "adaptive rounding ({}), promotion of the touched tensors to a finer storage "
                    "(--output-dtype q8_0 or f32), or keeping the adapter in its own file beside "
                    "the model",
                    *report.kept * 100,
                    decibels ? fmt::format(", with a signal-to-noise ratio of {:.1f} dB", *decibels)
                             : std::string(),
                    adaptive ? "in use already" : "--rounding adaptive:0"));
    finding.severity = Severity::warning;
    return finding;
}

void judge_effect(const ApplyOptions& options, ApplyReport& report, Findings& findings) {
    if (report.zero_effect) {
        Finding finding = make_finding(
            FindingCode::zero_effect,
            "applying the whole stack changes no stored byte of the model; check the strengths, or "
            "allow it explicitly if that is what you want");
        if (options.allow_no_effect) {
            finding.severity = Severity::warning;
            report.warnings.add(std::move(finding));
        } else {
            findings.add(std::move(finding));
        }
    }
    if (options.min_survival && report.kept && *report.kept < *options.min_survival) {
        Finding finding = make_finding(FindingCode::survival_below_threshold, {});
        finding.expected = fmt::format("at least {}", *options.min_survival);
        finding.actual = fmt::format("{:.6g}", *report.kept);
        finding.message = fmt::format(
            "only {} of the intended change would survive, but {} is asked for; use "
            "adaptive rounding, a larger storage, or a higher strength",
            finding.actual, finding.expected);
        findings.add(std::move(finding));
    } else if (report.kept && !report.zero_effect && is_mostly_lost(report.tensors)) {
        report.warnings.add(mostly_lost(options, report));
    }
}

}  // namespace trlm::adapt
