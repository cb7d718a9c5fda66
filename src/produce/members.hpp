#pragma once
// Packages side by side: whether they are for one model, and which name a tensor.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trlm/adapt/result.hpp"
#include "trlm/adapt/stack.hpp"

namespace trlm::adapt {

/// A package's entry of a tensor.
struct MemberEntry {
    std::size_t member = 0;  ///< place in the stack
    std::size_t entry = 0;   ///< place in its directory
};

/// A tensor and the packages that name it, in stack order.
struct NamedTensor {
    std::uint64_t name_hash = 0;
    std::vector<MemberEntry> entries;
};

/// All tensors that at least one member names, by ascending hash. O(entries log n).
[[nodiscard]] std::vector<NamedTensor> named_tensors(std::span<const StackMember> members);

/// The entry itself.
[[nodiscard]] const PackageEntry& entry_of(std::span<const StackMember> members,
                                           const MemberEntry& place) noexcept;

/// A name that one of the entries knows, or nothing.
[[nodiscard]] std::string name_of(std::span<const StackMember> members, const NamedTensor& tensor);

/// Identity and shapes of all members against those of the first: codes of `check_compatibility`;
/// `limit_exceeded` for more members than a stack has. O(entries log n).
[[nodiscard]] Findings check_members(std::span<const StackMember> members);

}  // namespace trlm::adapt
