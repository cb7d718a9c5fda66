#pragma once
// Findings of lower floors know a tensor's hash at most.

#include <string>
#include <utility>

#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// `status` with `label` as the tensor of all its findings.
[[nodiscard]] inline Status about_tensor(Status status, const std::string& label) {
    if (status) return status;
    Findings named;
    for (Finding finding : status.error()) {
        finding.tensor = label;
        named.add(std::move(finding));
    }
    return failure(std::move(named));
}

}  // namespace trlm::adapt
