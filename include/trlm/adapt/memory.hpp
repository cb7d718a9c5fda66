#pragma once
// A stack in an engine's memory: put in, taken out, exchanged for another; all or nothing.
// docs/engines.md

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "trlm/adapt/allocator.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/slm1.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// A tensor in an engine's memory. Storage is that of SLM1; payload and scales may lie anywhere.
struct MemoryTensor {
    std::uint64_t name_hash = 0;  ///< `tensor_name_hash` of the name; 0: of `name`, which is given
    std::string_view name;        ///< also for findings and reports; may be empty beside a hash
    Dtype dtype = Dtype::f32;     ///< how values are stored
    Shape shape;                  ///< row-major dimensions
    std::uint32_t block_size =
        0;                 ///< 0 for f32, cols for q8_0, even and a divisor of cols for q4_0
    MutableBytes payload;  ///< f32 values (4-aligned) or codes; empty: see `TileAccess`
    MutableBytes scales;   ///< f32 scales (4-aligned); empty for f32
    /// No value of the base is larger in magnitude, if the engine knows such a bound
    /// (`ModelTensor::max_abs` of the file that it loaded, say). It can spare the pass that checks
    /// for overflow.
    std::optional<float> max_abs;

    /// The name hash, given or not.
    [[nodiscard]] constexpr std::uint64_t hash() const noexcept {
        return name_hash == 0 && !name.empty() ? tensor_name_hash(name) : name_hash;
    }
};

/// A run of whole rows of a tensor.
struct RowRange {
    std::size_t tensor = 0;       ///< into `MemoryModel::tensors`
    std::uint64_t first_row = 0;  ///< a row has `Shape::cols()` elements
    std::uint64_t rows = 0;       ///< how many follow, the first included
};

/// How tensors are reached that the engine cannot lend as spans: on another device, or laid out in
/// another way. Both are called from the executor's threads, for different rows at once, and return
/// false when they cannot.
struct TileAccess {
    /// Copies the rows' bytes, in the storage of SLM1, into `payload` and `scales`.
    std::function<bool(const RowRange& rows, MutableBytes payload, MutableBytes scales)> read;
    /// Replaces the rows by these bytes. Called only between `Quiescence::begin` and `end`.
    std::function<bool(const RowRange& rows, Bytes payload, Bytes scales)> write;
};

/// What the engine does around the moment in which its weights change. Everything is checked and
/// all memory is at hand before `begin`.
struct Quiescence {
    /// Waits until no thread reads the weights, and keeps it so; false: not now, and nothing
    /// changes (`output_failed`).
    std::function<bool()> begin;
    /// Readers may go on. What was computed with the old weights, such as a KV cache, is to be
    /// dropped. Called exactly once after each `begin` that returned true.
    std::function<void()> end;
};

/// A model in an engine's memory, and what the engine lends for changing it.
struct MemoryModel {
    Identity identity;                      ///< the model that the tensors are
    std::span<const MemoryTensor> tensors;  ///< all of them, in any order
    TileAccess access = {};                 ///< for tensors whose spans are both empty
    Allocator allocator = {};               ///< for what an application keeps and works with
    Quiescence quiescence = {};             ///< may be empty
    bool keep_base = true;                  ///< whether what is applied can be undone and exchanged
};

/// A checked plan for memory. The tensors' memory and the packages must outlive it.
struct MemoryPlan {
    /// A tensor that the stack names.
    struct Tensor {
        MemoryTensor target;               ///< the engine's tensor
        std::vector<PlannedDelta> deltas;  ///< in stack order
        bool proven_finite = false;  ///< bounds show that no fused value or scale can overflow
        std::size_t index = 0;       ///< into `MemoryModel::tensors`
    };
    std::vector<Tensor> tensors;   ///< those that the stack names
    std::uint64_t state = 0;       ///< assembly state after the stack
    std::uint64_t base_state = 0;  ///< assembly state without any
    TileAccess access = {};        ///< how tensors without spans are reached
    Allocator allocator = {};      ///< where memory comes from; empty: the global one
    Quiescence quiescence = {};    ///< what is called around the change
    bool keep_base = true;         ///< whether it can be undone
};

/// The tensors of an engine that holds a model as its file has it: `file` has the bytes of
/// `model.bytes()`, which an engine that changes them has copied or mapped privately. Names belong
/// to `model`. `bad_view` when `file` is of another size, `out_of_memory`. O(tensors).
[[nodiscard]] Result<std::vector<MemoryTensor>> memory_tensors(const Model& model,
                                                               MutableBytes file);

/// Checks the description of the engine's tensors (`bad_view`: sizes, null or misaligned spans,
/// overlaps, a tensor named twice, an identity that is not that of the tensors, half an access or
/// allocator) and that every package fits (as `check_compatibility`). Reads no weight and mutates
/// nothing: it may run while the engine works. O(tensors log n).
[[nodiscard]] Result<MemoryPlan> plan_in_memory(const MemoryModel& model,
                                                std::span<const StackMember> stack);

/// A stack that lies in an engine's memory, and what it takes to get it out again. The engine's
/// tensors and the packages must outlive it. One thread at a time; readers of the weights go on
/// between transactions. Destroying it leaves the weights as they are.
class Applied {
public:
    /// Takes over; the other may only be destroyed or assigned to.
    Applied(Applied&& other) noexcept;
    /// The same.
    Applied& operator=(Applied&& other) noexcept;
    ~Applied();

    /// What the last application did. It has no checksum and no size of a file.
    [[nodiscard]] const ApplyReport& report() const noexcept;

    /// Assembly state of the weights now.
    [[nodiscard]] std::uint64_t state() const noexcept;

    /// False after `undo`: the weights are the base's.
    [[nodiscard]] bool is_applied() const noexcept;

    /// Bytes that are kept of the base: those of the tensors that the stack names.
    [[nodiscard]] std::uint64_t kept_bytes() const noexcept;

    /// Puts back the base's bytes, each as it was. `undo_stale` when there is nothing to undo or a
    /// weight was changed since by somebody else; `out_of_memory`, `executor_failed`,
    /// `output_failed` (quiescence, access). On failure nothing has changed. O(bytes of the tensors
    /// that the stack names).
    [[nodiscard]] Status undo(const Executor& executor = {});

    /// This stack out, that of `next` in, as one transaction: the weights become what `next` makes
    /// of the base. `next` is a plan for the same engine. Findings as `apply_in_memory` and `undo`,
    /// `bad_view` for another engine's plan. On failure the stack that was applied still is.
    [[nodiscard]] Status swap(const MemoryPlan& next, const ApplyOptions& options = {});

private:
    friend Result<Applied> apply_in_memory(const MemoryPlan& plan, const ApplyOptions& options);
    struct State;
    explicit Applied(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

/// Applies the plan in place. Every fused value is checked before the first byte changes, unless
/// bounds prove it: on any failure (`fused_non_finite`, `zero_effect`, `survival_below_threshold`,
/// `out_of_memory`, `executor_failed`, `output_failed` when cancelled during the check or refused
/// by quiescence or access, `usage_error` for an unknown simd_target) the memory is as it was. The
/// engine may read its weights until `Quiescence::begin`; without a quiescence nobody may read or
/// write them meanwhile. O(elements of the tensors that the stack names * stack).
[[nodiscard]] Result<Applied> apply_in_memory(const MemoryPlan& plan,
                                              const ApplyOptions& options = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
