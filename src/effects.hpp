#pragma once
// What an application found out and what the caller's policy makes of it, in a file or in memory.

#include <cstdint>
#include <span>
#include <string>

#include "fuse.hpp"
#include "trlm/adapt/apply.hpp"

namespace trlm::adapt {

/// A finding with a code and a message.
[[nodiscard]] Finding make_finding(FindingCode code, std::string message);

/// `fused_non_finite` for the first element, row or block of a tensor that cannot be stored.
[[nodiscard]] Finding fused_non_finite(const TensorView& tensor, std::uint64_t place);

/// A tensor's survival before anything was measured.
[[nodiscard]] TensorSurvival no_survival_yet(const TensorView& tensor);

/// Adds rows, which must come in order.
void add_survival(TensorSurvival& tensor, std::span<const kernels::RowSurvival> rows);

/// `zero_effect` and `survival_below_threshold`: an error into `findings`, or, where the options
/// allow it, a warning into the report. `report.zero_effect` and `report.kept` are set.
void judge_effect(const ApplyOptions& options, ApplyReport& report, Findings& findings);

}  // namespace trlm::adapt
