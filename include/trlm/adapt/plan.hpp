#pragma once
// What an application will do, decided before anything is changed.  docs/formats.md, section 4

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/stack.hpp"

namespace trlm::adapt {

/// One adapter's delta of a planned tensor.
struct PlannedDelta {
    Delta delta;
    float strength = 1;
    /// No delta, strength included, is larger in magnitude; infinity where that is not known.
    double max_abs = std::numeric_limits<double>::infinity();
};

/// The delta of entry `index` of a package, with what is known of its size. O(1).
[[nodiscard]] PlannedDelta planned_delta(const Package& package, std::size_t index,
                                         float strength) noexcept;

/// True when values up to `max_abs`, with all of `deltas` added, can be stored in any dtype: no
/// fused value and no new scale can overflow. O(deltas).
[[nodiscard]] bool proves_finite(double max_abs, std::span<const PlannedDelta> deltas) noexcept;

/// A tensor that the stack names, with its deltas in stack order.
struct PlannedTensor {
    std::size_t model_index = 0;  ///< into Model::tensors()
    std::vector<PlannedDelta> deltas;
    bool proven_finite = false;  ///< bounds show that nothing can overflow
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
    RegionSource source = RegionSource::base;
    std::uint64_t length = 0;
    std::uint64_t source_offset = 0;  ///< into the base (base) or the head (head)
    std::size_t tensor = 0;           ///< into `ApplyPlan::tensors` (payload, scales)
};

/// A checked, immutable plan. The model and the packages must outlive it.
struct ApplyPlan {
    const Model* model = nullptr;
    std::vector<PlannedTensor> tensors;  ///< in the model's directory order
    std::vector<OutputRegion> regions;   ///< the whole new file, in file order
    std::vector<std::byte> head;         ///< what precedes the first copied region, checksum 0
    std::uint64_t output_bytes = 0;
    std::uint64_t state = 0;  ///< assembly state after the stack
    Findings warnings;
};

/// Checks that every package fits and lays out the new file: the base's own layout, or, for a base
/// whose checksum cannot be verified, the canonical one with a header that can.
/// Findings: those of `check_compatibility`. Mutates nothing. O(entries log n).
[[nodiscard]] Result<ApplyPlan> plan_apply(const Model& model, std::span<const StackMember> stack);

}  // namespace trlm::adapt
