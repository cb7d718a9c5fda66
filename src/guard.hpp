#pragma once
// Where memory runs out: a failed allocation leaves a public function as a finding, not as an
// exception.

#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// What `function` returns (a Result or a Status), or `out_of_memory`.
template <class Function>
[[nodiscard]] std::invoke_result_t<Function> guarded(Function&& function) {
    static constexpr auto out_of_memory = [] {
        Finding finding;
        finding.code = FindingCode::out_of_memory;
        finding.message =
            "there is not enough memory for this; free some, or use a machine that has more";
        return failure(std::move(finding));
    };
    try {
        return std::forward<Function>(function)();
    } catch (const std::bad_alloc&) {
        return out_of_memory();
    } catch (const std::length_error&) {  // a container longer than its type can count
        return out_of_memory();
    }
}

}  // namespace trlm::adapt
