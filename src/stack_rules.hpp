#pragma once
// Whether a stack fits, for a model in a file or in memory.

#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "trlm/adapt/stack.hpp"

namespace trlm::adapt {

/// A strength as it is used: rounded once to f32. Nothing where that is zero or not finite.
[[nodiscard]] std::optional<float> usable_strength(double strength) noexcept;

/// What a model knows of a tensor that an adapter names.
struct KnownTensor {
    std::string_view name;  ///< may be empty
    Shape shape;
};

/// The model's tensor with this name hash.
using FindTensor = std::function<std::optional<KnownTensor>(std::uint64_t name_hash)>;

/// The findings of `check_compatibility`.
[[nodiscard]] Findings check_stack(const Identity& identity, const FindTensor& find_tensor,
                                   std::span<const StackMember> stack);

/// Assembly state after the stack.
[[nodiscard]] std::uint64_t state_after(const Identity& identity,
                                        std::span<const StackMember> stack);

}  // namespace trlm::adapt
