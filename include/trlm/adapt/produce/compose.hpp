#pragma once
// What the members of a stack share, from headers and indexes alone.  docs/making-adapters.md

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trlm/adapt/result.hpp"
#include "trlm/adapt/stack.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Two packages of a stack, by their places in it. An element counts as changed by a package when
/// it names it: all elements of a tensor of ADP1 and ALR1, the stored ones of ASP1.
struct SharedByTwo {
    std::size_t first = 0;       ///< index of a package in the stack
    std::size_t second = 0;      ///< index of a later one
    std::uint64_t tensors = 0;   ///< that both name
    std::uint64_t elements = 0;  ///< that both change
    bool same_content = false;   ///< both have the same checksum: one package twice
};

/// A tensor that more than one package names.
struct SharedTensor {
    std::string name;                  ///< the tensor's; empty when no package gives it
    std::uint64_t name_hash = 0;       ///< `tensor_name_hash` of the name
    std::uint64_t elements = 0;        ///< of the tensor
    std::vector<std::size_t> members;  ///< places in the stack, ascending
    std::uint64_t changed_twice = 0;   ///< elements that at least two of them change
};

/// How a stack's members meet.
struct Composition {
    std::vector<std::uint64_t> changed;  ///< elements that each member changes
    std::vector<SharedByTwo> pairs;      ///< (0, 1), (0, 2), (1, 2), ...
    std::vector<SharedTensor> tensors;   ///< by ascending name hash
    std::uint64_t changed_twice = 0;     ///< elements that at least two members change

    /// Whether another order of the stack could give other weights: additions are rounded one after
    /// another, so it may where an element is changed twice, and cannot where none is.
    [[nodiscard]] bool order_sensitive() const noexcept { return changed_twice > 0; }
};

/// Packages that were read with `ReadDepth::headers` at least; no value is looked at. Findings,
/// each with the package's file: `usage_error` for none, `limit_exceeded` for more than a stack
/// has; those of `check_compatibility` where an identity or a shape is not that of the first;
/// `count_mismatch`, `index_out_of_range`, `index_not_ascending`, `mask_bits_past_end` and
/// `mask_checksum_mismatch` for indexes that are damaged. O(indexes * members).
[[nodiscard]] Result<Composition> check_composition(std::span<const StackMember> members);

}  // namespace trlm::adapt
#pragma GCC visibility pop
