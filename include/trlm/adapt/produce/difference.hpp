#pragma once
// An adapter from two models: what has to be added to the one to get the other.
// docs/making-adapters.md

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/package_file.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// ADP1: every element of every tensor that differs.
struct DenseDifference {};

/// ASP1: the elements of largest magnitude. Of equal ones those that come first are taken: by name
/// hash of their tensor, then by index.
struct LargestElements {
    /// A share, above 0 and at most 1: floor(share * elements), but one element at least. Or a
    /// number of elements, at least 1.
    std::variant<double, std::uint64_t> amount;
    bool global = false;  ///< of all tensors that differ together, instead of each by itself
};

/// ASP1: the elements whose magnitude is at least this; finite, not negative.
struct ElementsAbove {
    float threshold = 0;  ///< the least magnitude that is kept
};

/// ASP1: each element that differs is dropped with a probability, as in the paper on DARE (Yu and
/// others, 2024). Whether it is dropped is a function of seed, tensor and index alone.
struct RandomDrop {
    double probability = 0;  ///< at least 0 and below 1
    std::uint64_t seed = 0;  ///< of the random numbers
    bool rescale = false;    ///< what stays is divided by 1 - probability
};

/// What becomes of tensors that are not matrices where factors are asked for.
enum class VectorPolicy : std::uint8_t {
    dense,   ///< they go to a companion ADP1
    skip,    ///< they are left out, and the report says so
    refuse,  ///< `bad_low_rank`
};

/// ALR1: factors of a truncated singular value decomposition.
struct LowRankDifference {
    /// The rank, 1 to `limits::low_rank`; a matrix with a shorter side gets that. Or a share of the
    /// squared Frobenius norm, above 0 and at most 1: the smallest rank that keeps it.
    std::variant<std::uint32_t, double> size;
    VectorPolicy vectors = VectorPolicy::dense;  ///< what happens to tensors that are no matrices
};

/// How a difference is stored.
using DifferenceMethod =
    std::variant<DenseDifference, LargestElements, ElementsAbove, RandomDrop, LowRankDifference>;

/// The kind of package that a method makes.
[[nodiscard]] PackageKind kind_of(const DifferenceMethod& method) noexcept;

/// `usage_error` for a number of a method that is out of its bounds.
[[nodiscard]] Status check_method(const DifferenceMethod& method);

/// "the largest 0.05 of each tensor", ...: what stands in the package's metadata.
[[nodiscard]] std::string describe(const DifferenceMethod& method);

/// Where the difference of a tensor went.
enum class DifferencePlace : std::uint8_t { package, companion, left_out };

/// "package", "companion", "left-out".
[[nodiscard]] std::string_view to_string(DifferencePlace place) noexcept;

/// A tensor whose decoded values differ. base, tuned: its decoded values; delta: what applying the
/// package with strength 1 adds, computed as `apply` does.
struct TensorDifference {
    std::string name;                                  ///< of the tensor
    std::uint64_t name_hash = 0;                       ///< `tensor_name_hash` of the name
    DifferencePlace place = DifferencePlace::package;  ///< where its difference went
    std::uint64_t elements = 0;                        ///< of the tensor
    std::uint64_t differing = 0;                       ///< elements whose values differ
    std::uint64_t stored = 0;        ///< values in the package: of both factors where it is ALR1
    std::uint32_t rank = 0;          ///< of the factors; 0 where there are none
    std::uint64_t not_restored = 0;  ///< elements for which fl(base + delta) is not tuned, bit for
                                     ///< bit; zero deltas leave the base's bits
    double difference_squared = 0;   ///< |tuned - base|^2
    double error_squared = 0;        ///< |delta - (tuned - base)|^2

    /// sqrt(error_squared / difference_squared)
    [[nodiscard]] double relative_error() const noexcept;
};

/// What a difference holds, and how close base + delta comes to tuned.
struct DifferenceReport {
    std::vector<TensorDifference> tensors;  ///< those that differ, in the base's directory order
    std::uint64_t equal_tensors = 0;        ///< those that do not
    std::uint64_t not_restored = 0;  ///< of all tensors; zeros of another sign in equal ones too
    WrittenPackage package;          ///< what was written
    std::optional<WrittenPackage> companion;  ///< what was written beside it, where something was
    Findings warnings;                        ///< about what the package cannot say

    /// Of all tensors together.
    [[nodiscard]] double relative_error() const noexcept;
};

/// Are these two states of one model, so that an adapter can lead from `base` to `tuned`? Findings:
/// those of `check_compatibility` about identity, tensors and shapes, and `layout_differs` for
/// another architecture that has the same tensors (heads, RoPE theta, RMS epsilon); a warning of
/// that code for another context length. O(tensors log n).
[[nodiscard]] Findings check_pair(const Model& base, const Model& tuned);

/// How a difference is made.
struct DifferenceOptions {
    Progress progress = {};  ///< false cancels with `output_failed`
};

/// Where a difference goes.
struct DifferencePaths {
    std::string package;    ///< the package's file
    std::string companion;  ///< used by `VectorPolicy::dense` alone
};

/// A difference that is written but has no name yet: `commit` gives it one, destroying it removes
/// what was written.
struct Difference {
    DifferenceReport report;               ///< what the package holds
    PackageFile package;                   ///< not yet published
    std::optional<PackageFile> companion;  ///< not yet published, where there is one
};

/// Writes the difference of two models, decoded: fl(tuned - base). Tensors without a difference,
/// and those of which a method keeps nothing, are left out. Findings: those of `check_pair`;
/// `zero_effect` when nothing is left to write; `non_finite` when a difference is larger than an
/// f32 holds; `bad_low_rank` and `limit_exceeded`; `usage_error` for a method's value out of
/// bounds; `output_failed`, also when cancelled. The bytes are the same on every machine. Memory
/// is that of one tensor. O(parameters), and O(rows * columns * smaller side) for factors.
[[nodiscard]] Result<Difference> write_difference(const Model& base, const Model& tuned,
                                                  const DifferenceMethod& method,
                                                  const DifferencePaths& paths,
                                                  const DifferenceOptions& options = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
