#pragma once
// What an application will do, decided before anything is changed.  docs/formats.md, section 4

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/stack.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// One adapter's delta of a planned tensor.
struct PlannedDelta {
    Delta delta;         ///< the values, in the package's bytes
    float strength = 1;  ///< what they are multiplied by
    /// No delta, strength included, is larger in magnitude; infinity where that is not known.
    double max_abs = std::numeric_limits<double>::infinity();
};

/// The delta of entry `index` of a package, with what is known of its size. O(1).
[[nodiscard]] PlannedDelta planned_delta(const Package& package, std::size_t index,
                                         float strength) noexcept;

/// True when values up to `max_abs`, with all of `deltas` added, can be stored in any dtype: no
/// fused value and no new scale can overflow. O(deltas).
[[nodiscard]] bool proves_finite(double max_abs, std::span<const PlannedDelta> deltas) noexcept;

/// How the tensors that a stack names are stored afterwards. A tensor is promoted, never the other
/// way: one that is stored as finely already stays as it is.
enum class OutputDtype : std::uint8_t { keep, q8_0, f32 };

/// "keep", "q8_0", "f32".
[[nodiscard]] std::string_view to_string(OutputDtype output_dtype) noexcept;

/// The inverse of `to_string`; `usage_error` for any other text.
[[nodiscard]] Result<OutputDtype> parse_output_dtype(std::string_view text);

/// A tensor that the stack names, with its deltas in stack order.
struct PlannedTensor {
    std::size_t model_index = 0;       ///< into Model::tensors()
    TensorStorage storage;             ///< of the new values: the base's, or a finer one
    std::vector<PlannedDelta> deltas;  ///< at least one, in stack order
    bool proven_finite = false;        ///< bounds show that nothing can overflow
};

/// Where a part of the new file comes from.
enum class RegionSource : std::uint8_t {
    head,     ///< `ApplyPlan::head`
    base,     ///< bytes of the base at `source_offset`
    zeros,    ///< padding
    payload,  ///< new codes or values of `tensor`
    scales,   ///< new scales of `tensor`
};

/// One contiguous part of the new file.
struct OutputRegion {
    RegionSource source = RegionSource::base;  ///< where its bytes come from
    std::uint64_t length = 0;                  ///< bytes
    std::uint64_t source_offset = 0;           ///< into the base (base) or the head (head)
    std::size_t tensor = 0;                    ///< into `ApplyPlan::tensors` (payload, scales)
};

/// A checked, immutable plan. The model and the packages must outlive it.
struct ApplyPlan {
    const Model* model = nullptr;        ///< what the stack is applied to
    std::vector<PlannedTensor> tensors;  ///< in the model's directory order
    std::vector<OutputRegion> regions;   ///< the whole new file, in file order
    std::vector<std::byte> head;         ///< what precedes the first copied region, checksum 0
    std::uint64_t output_bytes = 0;      ///< size of the new file
    std::uint64_t state = 0;             ///< assembly state after the stack
    Findings warnings;                   ///< what an option allowed
};

/// Checks that every package fits and lays out the new file: the base's own layout, or the
/// canonical one where a tensor is promoted, or the base's checksum cannot be verified.
/// Findings: those of `check_compatibility`. Mutates nothing. O(entries log n).
[[nodiscard]] Result<ApplyPlan> plan_apply(const Model& model, std::span<const StackMember> stack,
                                           OutputDtype output_dtype = OutputDtype::keep);

}  // namespace trlm::adapt
#pragma GCC visibility pop
