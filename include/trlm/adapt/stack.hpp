#pragma once
// An ordered stack of adapters, each with a strength.  docs/formats.md, section 4

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// One adapter of a stack. The package must outlive the stack.
struct StackMember {
    const Package* package = nullptr;  ///< what is added
    float strength = 1;                ///< what its values are multiplied by
    std::string file;                  ///< named in findings; may be empty
};

/// Adapters in the order in which their deltas are added.
using Stack = std::vector<StackMember>;

/// A strength given in text: a decimal number, read to the nearest binary64 and rounded once to
/// f32. `usage_error` when it is not a number, or zero or not finite after rounding.
[[nodiscard]] Result<float> parse_strength(std::string_view text);

/// Does every package fit the model? Findings, each with the package's file: `flags_differ`,
/// `tensor_count_differs`, `parameter_count_differs`, `layout_differs`, `tokenizer_differs`,
/// `tensor_unknown`, `tensor_shape_differs`; `limit_exceeded` for more than 64 members,
/// `usage_error` for an empty stack or a strength that is zero or not finite. O(entries log n).
[[nodiscard]] Findings check_compatibility(const Model& model, std::span<const StackMember> stack);

/// The assembly state after the whole stack.
[[nodiscard]] std::uint64_t assembly_state(const Model& model, std::span<const StackMember> stack);

}  // namespace trlm::adapt
#pragma GCC visibility pop
