#pragma once
// Where memory runs out: a failed allocation leaves a public function as a finding, not as an
// exception.

#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "quietly.hpp"
#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// `out_of_memory`, in words if there is memory for them.
[[nodiscard]] inline tl::unexpected<Findings> out_of_memory() noexcept {
    Finding finding;
    finding.code = FindingCode::out_of_memory;
    (void)quietly([&] {
        finding.message =
            "there is not enough memory for this; free some, or use a machine that has more";
    });
    Findings findings;
    findings.add(std::move(finding));
    return tl::unexpected<Findings>(std::move(findings));
}

/// What `function` returns (a Result or a Status), or `out_of_memory`.
template <class Function>
[[nodiscard]] std::invoke_result_t<Function> guarded(Function&& function) {
#if defined(__cpp_exceptions)
    try {
        return std::forward<Function>(function)();
    } catch (const std::bad_alloc&) {
        return out_of_memory();
    } catch (const std::length_error&) {  // a container longer than its type can count
        return out_of_memory();
    }
#else
    return std::forward<Function>(function)();
#endif
}

}  // namespace trlm::adapt
