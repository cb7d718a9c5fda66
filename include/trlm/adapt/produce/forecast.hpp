#pragma once
// What would be left of adapters on a model, before anything is written.
// docs/making-adapters.md

#include <optional>
#include <span>
#include <vector>

#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/stack.hpp"
#include "trlm/adapt/survival.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// What an application would leave of a stack.
struct Forecast {
    std::vector<TensorSurvival> tensors;  ///< per tensor of the stack, in the model's order
    double kept = 0;                      ///< of the whole stack
    std::optional<double> snr_db;         ///< of the whole stack
    bool zero_effect = false;             ///< no stored byte would change
    Findings warnings;                    ///< `zero_effect`, `survival_below_threshold`
};

/// Applies `stack` to `target` without keeping anything. Rounding, executor and progress are those
/// of `options`. Findings: those of `plan_apply` and `apply_to_sink`; too little left is a warning
/// here. O(bytes of the target).
[[nodiscard]] Result<Forecast> forecast(const Model& target, std::span<const StackMember> stack,
                                        const ApplyOptions& options = {},
                                        OutputDtype output_dtype = OutputDtype::keep);

}  // namespace trlm::adapt
#pragma GCC visibility pop
