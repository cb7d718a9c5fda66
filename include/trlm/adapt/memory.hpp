#pragma once
// A stack applied to tensors in an engine's memory, all or nothing.  docs/formats.md, section 4

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "trlm/adapt/apply.hpp"

namespace trlm::adapt {

/// A tensor in an engine's memory. Storage is that of SLM1; payload and scales may lie anywhere.
struct MemoryTensor {
    std::uint64_t name_hash = 0;  ///< `tensor_name_hash` of the name
    std::string_view name;        ///< for findings and reports; may be empty
    Dtype dtype = Dtype::f32;
    Shape shape;
    std::uint32_t block_size =
        0;                 ///< 0 for f32, cols for q8_0, even and a divisor of cols for q4_0
    MutableBytes payload;  ///< f32 values (4-aligned) or codes
    MutableBytes scales;   ///< f32 scales (4-aligned); empty for f32
    /// No value is larger in magnitude, if the engine knows such a bound (`ModelTensor::max_abs`
    /// of the file that it loaded, say). It can spare the pass that checks for overflow.
    std::optional<float> max_abs;
};

/// A model in an engine's memory.
struct MemoryModel {
    Identity identity;
    std::span<const MemoryTensor> tensors;
};

/// A checked plan for memory. The tensors' memory and the packages must outlive it.
struct MemoryPlan {
    /// A tensor that the stack names.
    struct Tensor {
        MemoryTensor target;
        std::vector<PlannedDelta> deltas;
        bool proven_finite = false;  ///< bounds show that no fused value or scale can overflow
    };
    std::vector<Tensor> tensors;
    std::uint64_t state = 0;  ///< assembly state after the stack
};

/// Checks the description of the engine's tensors (`bad_view`: sizes, null or misaligned spans,
/// overlaps, a tensor named twice) and that every package fits (as `check_compatibility`).
/// Mutates nothing. O(tensors log n).
[[nodiscard]] Result<MemoryPlan> plan_in_memory(const MemoryModel& model,
                                                std::span<const StackMember> stack);

/// Applies the plan in place. Every fused value is checked before the first byte changes, unless
/// bounds prove it: on any failure (`fused_non_finite`, `zero_effect`,
/// `survival_below_threshold`, `executor_failed`, `output_failed` when cancelled during the check)
/// the memory is as it was. Nobody may read or write the tensors meanwhile. The report has no
/// checksum and no size of a file.
[[nodiscard]] Result<ApplyReport> apply_in_memory(const MemoryPlan& plan,
                                                  const ApplyOptions& options = {});

}  // namespace trlm::adapt
