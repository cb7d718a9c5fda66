#pragma once
// A heap that fails when it is told to: the operator new of the program that it is linked into.

#include <functional>
#include <optional>
#include <string>

#include "trlm/adapt/finding.hpp"

namespace trlm::adapt::failing_heap {

/// What came of a call: nothing when it worked.
using Verdict = std::optional<FindingCode>;

/// Calls `act` until every one of its allocations has failed, alone and with all that follow, or
/// ends the program. `is_unchanged` looks after each failure; `revert` takes back what a call that
/// worked has done.
void exhaust(const std::string& call, const std::function<Verdict()>& act,
             const std::function<void()>& revert, const std::function<bool()>& is_unchanged);

/// Ends the program: what went wrong at which allocation.
[[noreturn]] void fail(const std::string& call, long long at, const char* what);

}  // namespace trlm::adapt::failing_heap
