#pragma once
// Which instruction set the kernels use. Every one gives the same bytes.

#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Targets that this CPU can run, best first, "scalar" (plain C++, no SIMD) last; e.g.
/// AVX2, SSE4, SSSE3, scalar.
[[nodiscard]] std::vector<std::string> simd_targets();

/// `usage_error` unless `target` is empty (the best) or one of `simd_targets`.
[[nodiscard]] Status check_simd_target(std::string_view target);

}  // namespace trlm::adapt
#pragma GCC visibility pop
