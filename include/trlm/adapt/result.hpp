#pragma once
// The outcome of every fallible call: a value, or all that was wrong.

// A type is as visible as what it is made of.
#pragma GCC visibility push(default)
#include <tl/expected.hpp>
#pragma GCC visibility pop

#include "trlm/adapt/finding.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// A value, or the findings (at least one error) that prevented it. Nothing is thrown.
template <class T>
using Result = tl::expected<T, Findings>;

/// Success, or findings.
using Status = tl::expected<void, Findings>;

/// A failure with one finding.
[[nodiscard]] inline tl::unexpected<Findings> failure(Finding finding) {
    Findings findings;
    findings.add(std::move(finding));
    return tl::unexpected<Findings>(std::move(findings));
}

/// A failure with all of `findings`.
[[nodiscard]] inline tl::unexpected<Findings> failure(Findings findings) {
    return tl::unexpected<Findings>(std::move(findings));
}

}  // namespace trlm::adapt
#pragma GCC visibility pop
