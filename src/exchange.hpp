#pragma once
// The transaction behind `apply_in_memory`: one stack out of an engine's memory, another in.
// All memory is taken before anything changes; what goes wrong is told by a code and a place.

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "buffer.hpp"
#include "fuse.hpp"
#include "trlm/adapt/memory.hpp"

namespace trlm::adapt {

/// Why a transaction did not happen.
struct Fault {
    static constexpr std::size_t no_tensor = std::numeric_limits<std::size_t>::max();

    FindingCode code = FindingCode::out_of_memory;
    std::size_t job = no_tensor;  ///< into `Exchange::jobs`
    std::uint64_t place = 0;      ///< first element, row or block (`fused_non_finite`)
};

/// A tensor that a stack will change.
struct ExchangeTensor {
    MemoryTensor target;
    std::span<const PlannedDelta> deltas;
    bool proven_finite = false;  ///< bounds show that no fused value or scale can overflow
    std::size_t index = 0;       ///< into `MemoryModel::tensors`
};

/// A tensor that the stack in memory has changed.
struct HeldTensor {
    MemoryTensor target;
    std::size_t index = 0;            ///< into `MemoryModel::tensors`
    Buffer<std::byte> payload;        ///< the base's; empty when it is not kept
    Buffer<std::byte> scales;         ///< likewise
    std::uint64_t chunk_rows = 1;     ///< rows that a pair of checksums covers
    Buffer<std::uint64_t> checksums;  ///< of each chunk's changed payload, and of its scales
};

/// How an exchange is done.
struct ExchangeSettings {
    Rounding rounding;
    bool survival = false;
    bool keep_base = true;
    const kernels::Table* kernels = nullptr;
};

/// Exchanges stacks. The steps are called in the order in which they stand here; each returns false
/// when it failed, and `faults` say why.
class Exchange {
public:
    /// One tensor with all that its change needs.
    struct Job {
        const ExchangeTensor* planned = nullptr;  ///< null: only the base comes back
        HeldTensor* before = nullptr;             ///< null: the stack that goes did not name it
        TensorFuser fuser;
        HeldTensor after;
        Buffer<kernels::RowSurvival> rows;  ///< when survival is asked for
        Buffer<std::byte> former_payload;   ///< what lay there, where a write may fail
        Buffer<std::byte> former_scales;
        std::uint32_t largest = 0;  ///< bits of the largest magnitude of its values, or scales
        bool needs_check = false;

        [[nodiscard]] const MemoryTensor& target() const noexcept {
            return planned != nullptr ? planned->target : before->target;
        }
    };

    /// `out` is what the stack that goes has changed, `in` what the one that comes will change. All
    /// of it must outlive the exchange.
    Exchange(std::span<HeldTensor> out, std::span<const ExchangeTensor> in,
             const TileAccess& access, const Allocator& allocator,
             const Executor& executor) noexcept
        : out_(out), in_(in), access_(access), allocator_(allocator), executor_(executor) {}

    /// Takes all memory.
    [[nodiscard]] bool prepare(const ExchangeSettings& settings) noexcept;

    /// Whether the weights are those that the stack which goes has left: `undo_stale`.
    [[nodiscard]] bool verify() noexcept;

    /// Finds the first value of each tensor that cannot be stored, and measures survival. With
    /// `all` every tensor is computed, otherwise those that bounds do not prove finite.
    [[nodiscard]] bool check(bool all) noexcept;

    /// Finds out whether any byte of the base changes, computing no more than that takes.
    [[nodiscard]] bool look_for_change() noexcept;

    /// Changes the engine's memory. Fails where `access` does, or where a bound that the engine
    /// gave was wrong; then what lay there lies there again, unless `is_torn`.
    [[nodiscard]] bool change() noexcept;

    /// Moves what the stack in memory has changed now to `held`, which has a place for each of the
    /// plan's tensors.
    void take_held(std::span<HeldTensor> held) noexcept;

    [[nodiscard]] bool changed() const noexcept { return changed_.load(); }
    [[nodiscard]] bool is_torn() const noexcept { return torn_.load(); }
    [[nodiscard]] std::span<const Job> jobs() const noexcept {
        return {jobs_.data(), jobs_.size()};
    }

    /// After a step that failed: the first fault of each tensor, or what stopped them all.
    [[nodiscard]] std::span<const Fault> faults() const noexcept;

private:
    enum class Step : std::uint8_t { verify, bound, check, look, change, roll_back };

    /// A run of chunks of one job: of those that are computed, or of those that are restored.
    struct Task {
        std::size_t job = 0;
        bool computed = false;
        std::uint64_t first_chunk = 0;
        std::uint64_t chunks = 0;
        std::uint64_t bytes = 0;
        std::uint64_t chunks_written = 0;
        std::uint32_t largest = 0;  // bits of the largest magnitude
        std::optional<Fault> fault;
        std::atomic<bool> started = false;
        std::atomic<bool> done = false;
    };

    /// What one task at a time works with.
    struct Worker {
        FuseScratch scratch;
        Buffer<std::byte> old_payload;
        Buffer<std::byte> old_scales;
        Buffer<std::byte> new_payload;
        Buffer<std::byte> new_scales;
        std::atomic<bool> busy = false;
    };

    [[nodiscard]] bool find_jobs() noexcept;
    [[nodiscard]] bool prepare_job(Job& job) noexcept;
    [[nodiscard]] bool prepare_tasks() noexcept;
    [[nodiscard]] bool prepare_workers() noexcept;
    [[nodiscard]] bool prepare_worker(Worker& worker, const Job& job) noexcept;
    [[nodiscard]] bool out_of_memory() noexcept;

    [[nodiscard]] static bool is_proved(const Job& job) noexcept;
    [[nodiscard]] bool run(Step step) noexcept;
    [[nodiscard]] bool takes_part(const Task& task) const noexcept;
    [[nodiscard]] bool gather_faults(bool complete) noexcept;
    void run_task(Task& task) noexcept;
    [[nodiscard]] Worker& take_worker() noexcept;
    [[nodiscard]] std::optional<FindingCode> run_chunk(Job& job, std::uint64_t index, Task& task,
                                                       Worker& worker) noexcept;

    [[nodiscard]] std::optional<FindingCode> verify_chunk(Job& job, std::uint64_t index,
                                                          Worker& worker) noexcept;
    [[nodiscard]] std::optional<FindingCode> bound_chunk(const Job& job, const Tile& tile,
                                                         Task& task, Worker& worker) const noexcept;
    [[nodiscard]] std::optional<FindingCode> check_chunk(const Job& job, const Tile& tile,
                                                         Task& task, Worker& worker) noexcept;
    [[nodiscard]] std::optional<FindingCode> change_chunk(Job& job, std::uint64_t index, Task& task,
                                                          Worker& worker) noexcept;
    [[nodiscard]] bool roll_back_chunk(const Job& job, const Tile& tile) const noexcept;
    [[nodiscard]] bool fuse(const Job& job, const Tile& tile, const OldTile& old,
                            const NewTile& fused, Task& task, Worker& worker) noexcept;

    [[nodiscard]] bool read_now(const Job& job, const Tile& tile, Worker& worker,
                                OldTile& bytes) const noexcept;
    [[nodiscard]] bool read_base(const Job& job, const Tile& tile, Worker& worker,
                                 OldTile& bytes) const noexcept;
    [[nodiscard]] bool write(const Job& job, const Tile& tile, const OldTile& bytes) const noexcept;

    std::span<HeldTensor> out_;
    std::span<const ExchangeTensor> in_;
    const TileAccess& access_;
    const Allocator& allocator_;
    const Executor& executor_;
    ExchangeSettings settings_;
    bool writes_may_fail_ = false;
    Buffer<Job> jobs_;
    Buffer<Task> tasks_;
    Buffer<std::size_t> chosen_;  // the tasks of the step that runs
    Buffer<Worker> workers_;
    Buffer<Fault> faults_;
    std::size_t fault_count_ = 0;
    Step step_ = Step::verify;
    std::atomic<bool> stop_ = false;
    std::atomic<bool> changed_ = false;
    std::atomic<bool> torn_ = false;
};

}  // namespace trlm::adapt
