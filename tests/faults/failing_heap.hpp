#pragma once
// A heap that fails when it is told to: the operator new of the program that it is linked into.

#include <functional>
#include <optional>
#include <string>

#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/result.hpp"

namespace trlm::adapt::failing_heap {

/// What came of a call: nothing when it worked.
using Verdict = std::optional<FindingCode>;

/// Calls `act` until every one of its allocations has failed, alone and with all that follow, or
/// ends the program. `is_unchanged` looks after each failure; `revert` takes back what a call that
/// worked has done. A call with more allocations than `most` has its first 50 fail, and then as
/// many as that of the rest, equally far apart.
void exhaust(const std::string& call, const std::function<Verdict()>& act,
             const std::function<void()>& revert, const std::function<bool()>& is_unchanged,
             long long most = 1'000'000);

/// What findings say: nothing when none is an error. There may have been no memory for the finding
/// itself: then it still counts.
[[nodiscard]] Verdict verdict_of(const Findings& findings);

/// What a result says.
template <class T>
[[nodiscard]] Verdict verdict_of(const Result<T>& result) {
    return result ? std::nullopt : verdict_of(result.error());
}

/// Ends the program: what went wrong at which allocation.
[[noreturn]] void fail(const std::string& call, long long at, const std::string& what);

}  // namespace trlm::adapt::failing_heap
