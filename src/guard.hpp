#pragma once
// Where memory runs out: a failed allocation leaves a public function as a finding, not as an
// exception. What catches or throws stands here and in quietly.hpp alone, as there are builds
// without exceptions: in them a failed allocation ends the program where it happens.

#include <cstdlib>
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

/// Memory ran out where that cannot be returned; `guarded` takes it from there.
[[noreturn]] inline void throw_out_of_memory() {
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#else
    std::abort();
#endif
}

/// Memory ran out where a call's findings come from: so it did here.
inline void throw_if_out_of_memory(const Findings& findings) {
    // There may have been no memory for the finding itself.
    const bool unsaid = findings.has_errors() && findings.empty();
    if (unsaid || findings.contains(FindingCode::out_of_memory)) throw_out_of_memory();
}

/// Calls `function`; false when memory ran out in it.
template <class Function>
[[nodiscard]] bool memory_suffices(Function&& function) {
#if defined(__cpp_exceptions)
    try {
        std::forward<Function>(function)();
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    } catch (const std::length_error&) {  // a container longer than its type can count
        return false;
    }
#else
    std::forward<Function>(function)();
    return true;
#endif
}

/// Calls what is not ours; false when it threw, unless memory ran out: that goes on to `guarded`.
template <class Function>
[[nodiscard]] bool quietly_with_memory(Function&& function) {
#if defined(__cpp_exceptions)
    try {
        std::forward<Function>(function)();
        return true;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (...) {
        return false;
    }
#else
    std::forward<Function>(function)();
    return true;
#endif
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
