#pragma once
// Several packages of one kind into one.  docs/making-adapters.md

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/package_file.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/stack.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Deltas are added. Of ADP1 and ASP1: each element's strength * value, exact in double, summed in
/// double in the order given and rounded to f32 once. Of ALR1: factors side by side, ranks added
/// up; the scale is the first member's strength * scale, in f32, and B of another is multiplied by
/// the quotient of its own and that, rounded once where it is not 1.
struct SumMerge {};

/// ASP1: sign consensus, as in the paper on TIES (Yadav and others, 2023). Of each package's tensor
/// the largest elements stay, floor(density * elements) of them, but one at least; an element's
/// sign is that of the sum of strength * value; the result is the mean of those of that sign, in
/// double, rounded to f32 once. A sum of 0 has no sign, and the element is left out.
struct SignConsensus {
    double density = 1;  ///< above 0, at most 1
};

/// How packages are merged.
using MergeMethod = std::variant<SumMerge, SignConsensus>;

/// "sum of 2 packages", ...: what stands in the package's metadata.
[[nodiscard]] std::string describe(const MergeMethod& method, std::size_t members);

/// A tensor that at least one package names.
struct MergedTensor {
    std::string name;             ///< of the tensor; empty when no package gives it
    std::uint64_t name_hash = 0;  ///< `tensor_name_hash` of the name
    std::uint64_t elements = 0;   ///< of the tensor
    std::uint64_t members = 0;    ///< packages that name it
    std::uint64_t stored = 0;   ///< values in the result: of both factors where it is ALR1; 0 where
                                ///< everything cancels out, and the tensor is left out
    std::uint32_t rank = 0;     ///< of the factors; 0 where there are none
    std::uint64_t rounded = 0;  ///< stored values that are not exactly what they stand for
};

/// What a merged package holds.
struct MergeReport {
    std::vector<MergedTensor> tensors;  ///< by ascending name hash
    WrittenPackage package;             ///< what was written

    /// Of all tensors: 0 when the merged package is exactly the sum.
    [[nodiscard]] std::uint64_t rounded() const noexcept;
};

/// Can these be merged? Findings, each with the package's file: `usage_error` for fewer than two,
/// for different kinds, for a strength that is zero or not finite, for sign consensus of another
/// kind than ASP1, or a density out of bounds; `limit_exceeded` for more than a stack has;
/// those of `check_compatibility` where an identity or a shape is not that of the first;
/// `bad_low_rank` where ranks add up to more than a tensor's entry may have, or a factor leaves the
/// range of f32. O(entries log n).
[[nodiscard]] Findings check_merge(std::span<const StackMember> members, const MergeMethod& method);

/// How a merge is made.
struct MergeOptions {
    Progress progress = {};  ///< false cancels with `output_failed`
};

/// A merged package that is written but has no name yet: `commit` gives it one, destroying it
/// removes what was written.
struct Merge {
    MergeReport report;   ///< what the package holds
    PackageFile package;  ///< not yet published
};

/// Writes one package that stands for all of `members`, which were read with
/// `ReadDepth::everything`. Findings: those of `check_merge`; `zero_effect` when everything cancels
/// out; `non_finite` where a sum is larger than an f32 holds; `output_failed`, also when cancelled.
/// The bytes are the same on every machine. Memory is that of one tensor. O(bytes * members).
[[nodiscard]] Result<Merge> write_merge(std::span<const StackMember> members,
                                        const MergeMethod& method, const std::string& path,
                                        const MergeOptions& options = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
