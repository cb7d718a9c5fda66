#pragma once
// How much of adapters is left after rounding, for people and for programs.

#include <span>
#include <string>

#include "report.hpp"
#include "table.hpp"
#include "trlm/adapt/survival.hpp"

namespace trlm::adapt::cli {

/// "99.9 %".
[[nodiscard]] std::string percent(double share);

/// One line for each tensor, and one for the whole stack.
[[nodiscard]] std::string survival_table(std::span<const TensorSurvival> tensors,
                                         const Style& style);

}  // namespace trlm::adapt::cli
