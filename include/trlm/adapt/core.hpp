#pragma once
// The same transaction for hosts without exceptions, run-time type information or a heap: packages
// are read in place, memory comes from the host's allocator alone, and what is wrong is a code and
// a place instead of words.  docs/engines.md

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "trlm/adapt/memory.hpp"

#pragma GCC visibility push(default)
/// The transaction for hosts without exceptions, run-time type information or a heap.
namespace trlm::adapt::core {

/// That all went well, or the first thing that did not.
struct Outcome {
    /// Neither an item nor a place.
    static constexpr std::uint64_t nowhere = std::numeric_limits<std::uint64_t>::max();

    bool ok = true;                               ///< nothing is wrong
    FindingCode code = FindingCode::usage_error;  ///< when not ok
    /// What it is about: the entry of a package, the tensor of a model, or the member of a stack,
    /// as the function says.
    std::uint64_t item = nowhere;
    /// Where in it: the byte of a file, or the element, row or block of `fused_non_finite`.
    std::uint64_t place = nowhere;
    /// The one failure that leaves something behind: a write through `TileAccess` failed, or a
    /// `max_abs` was wrong, and what was there could not be put back. Load the model anew.
    bool torn = false;

    /// The same as `ok`.
    [[nodiscard]] constexpr explicit operator bool() const noexcept { return ok; }
};

/// One entry of a package.
struct Entry {
    std::uint64_t name_hash = 0;  ///< `tensor_name_hash` of the tensor's name
    Shape shape;                  ///< the tensor's dimensions
    Delta delta;                  ///< the values, in the package's bytes
};

/// An adapter package over bytes that the caller keeps alive. Nothing is copied or allocated.
class PackageView {
public:
    /// Reads and checks a whole package of any kind by the rules of `read_package`, except that its
    /// metadata text is not looked at. Stops at the first defect: its code, entry and byte offset.
    /// O(bytes).
    [[nodiscard]] static Outcome open(Bytes file, PackageView& package) noexcept;

    /// Dense, sparse or low-rank.
    [[nodiscard]] PackageKind kind() const noexcept { return kind_; }
    /// The model that it is for.
    [[nodiscard]] const Identity& identity() const noexcept { return identity_; }
    /// Internal checksum, as the header states it.
    [[nodiscard]] std::uint64_t checksum() const noexcept { return checksum_; }
    /// Tensors that it changes.
    [[nodiscard]] std::uint32_t entry_count() const noexcept { return entry_count_; }

    /// Entry `index`, below `entry_count()`. O(1).
    [[nodiscard]] Entry entry(std::uint32_t index) const noexcept;

private:
    Bytes file_;
    PackageKind kind_ = PackageKind::dense;
    Identity identity_;
    std::uint64_t checksum_ = 0;
    std::uint32_t entry_count_ = 0;
};

/// One adapter of a stack. The package must outlive the application.
struct Member {
    const PackageView* package = nullptr;  ///< what is added
    float strength = 1;                    ///< what its values are multiplied by
};

/// How a stack is applied.
struct Options {
    Rounding rounding;             ///< how quantized values are rounded
    bool allow_no_effect = false;  ///< otherwise `zero_effect` when no stored byte would change
    Executor executor;             ///< where the work runs; by default on the calling thread
};

/// What an engine's weights hold: the base, or the base with a stack. The model's description, the
/// tensors' memory and the packages must outlive it; one thread at a time. Destroying it leaves the
/// weights as they are.
class Application {
public:
    /// Nothing is applied yet. With `MemoryModel::keep_base` false there is one way only: in.
    explicit Application(const MemoryModel& model) noexcept;
    Application(const Application&) = delete;
    Application& operator=(const Application&) = delete;
    ~Application();

    /// Makes the weights what `stack` makes of the base, whatever is applied now, as one
    /// transaction. Codes as `plan_in_memory`, `apply_in_memory` and `Applied::swap` have them; the
    /// item is a tensor of the model (`bad_view`, `unsupported_dtype`, `undo_stale`,
    /// `output_failed`, `fused_non_finite`) or a member (the rest). On failure nothing has changed,
    /// unless it is `torn`.
    [[nodiscard]] Outcome apply(std::span<const Member> stack,
                                const Options& options = {}) noexcept;

    /// Puts back the base's bytes, each as it was. `undo_stale`, `out_of_memory`,
    /// `executor_failed`, `output_failed`; on failure nothing has changed, unless it is `torn`.
    [[nodiscard]] Outcome undo(const Executor& executor = {}) noexcept;

    /// Assembly state of the weights now.
    [[nodiscard]] std::uint64_t state() const noexcept { return state_; }

    /// Whether a stack is applied.
    [[nodiscard]] bool is_applied() const noexcept { return held_ != nullptr; }

private:
    struct Held;
    void drop(Held* held) noexcept;

    const MemoryModel& model_;
    std::uint64_t base_state_;
    std::uint64_t state_;
    Held* held_ = nullptr;
};

}  // namespace trlm::adapt::core
#pragma GCC visibility pop
