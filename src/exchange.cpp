#include "exchange.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <thread>

#include "fp_environment.hpp"
#include "quietly.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

/// Tasks for each thread: enough that a slow one does not stall the others.
constexpr std::uint64_t tasks_per_thread = 8;

constexpr Fault no_memory{FindingCode::out_of_memory, Fault::no_tensor, 0};

/// Sizes of some rows' payload and scales.
struct RowBytes {
    std::size_t payload = 0;
    std::size_t scales = 0;
};

RowBytes bytes_of(const MemoryTensor& tensor, std::uint64_t rows) noexcept {
    const std::uint64_t elements = rows * tensor.shape.cols();
    const std::uint64_t payload = tensor.dtype == Dtype::f32    ? elements * sizeof(float)
                                  : tensor.dtype == Dtype::q8_0 ? elements
                                                                : elements / 2;
    const std::uint64_t scales =
        tensor.block_size == 0 ? 0 : elements / tensor.block_size * sizeof(float);
    return {static_cast<std::size_t>(payload), static_cast<std::size_t>(scales)};
}

RowBytes bytes_of(const MemoryTensor& tensor) noexcept {
    return bytes_of(tensor, tensor.shape.rows());
}

/// The rows of a tile, in a tensor whose storage begins at `payload` and `scales`.
NewTile rows_at(const MemoryTensor& tensor, const Tile& tile, std::byte* payload,
                std::byte* scales) noexcept {
    const RowBytes before = bytes_of(tensor, tile.first_row);
    return {payload + before.payload, scales == nullptr ? nullptr : scales + before.scales};
}

NewTile rows_in(const MemoryTensor& tensor, const Tile& tile, const Buffer<std::byte>& payload,
                const Buffer<std::byte>& scales) noexcept {
    return rows_at(tensor, tile, payload.data(), scales.data());
}

OldTile as_old(const NewTile& bytes) noexcept {
    return {bytes.payload, bytes.scales};
}

void copy_rows(const MemoryTensor& tensor, const Tile& tile, const OldTile& from,
               const NewTile& to) noexcept {
    const RowBytes bytes = bytes_of(tensor, tile.rows);
    std::memcpy(to.payload, from.payload, bytes.payload);
    if (bytes.scales > 0) std::memcpy(to.scales, from.scales, bytes.scales);
}

/// Checksums of a chunk as it is stored.
struct ChunkChecksums {
    std::uint64_t payload = 0;
    std::uint64_t scales = 0;
    friend bool operator==(const ChunkChecksums&, const ChunkChecksums&) = default;
};

ChunkChecksums checksums_of(const MemoryTensor& tensor, const Tile& tile,
                            const OldTile& bytes) noexcept {
    const RowBytes sizes = bytes_of(tensor, tile.rows);
    return {xxh3_64({bytes.payload, sizes.payload}), xxh3_64({bytes.scales, sizes.scales})};
}

/// Whether the engine lends the tensor's memory.
bool is_lent(const MemoryTensor& tensor) noexcept {
    return !tensor.payload.empty();
}

// A tensor that is computed goes by the tiles of its kernels, one that is verified or restored by
// the chunks of the checksums that it was left with.

std::uint64_t chunk_rows(const Exchange::Job& job, bool computed) noexcept {
    return computed ? job.after.chunk_rows : job.before->chunk_rows;
}

std::uint64_t chunk_count(const Exchange::Job& job, bool computed) noexcept {
    const std::uint64_t rows = chunk_rows(job, computed);
    return (job.target().shape.rows() + rows - 1) / rows;
}

Tile chunk(const Exchange::Job& job, std::uint64_t index, bool computed) noexcept {
    const std::uint64_t rows = chunk_rows(job, computed);
    const std::uint64_t first = index * rows;
    return {first, std::min(rows, job.target().shape.rows() - first)};
}

}  // namespace

// ------------------------------------------------------------------------------------ preparing

bool Exchange::prepare(const ExchangeSettings& settings) noexcept {
    settings_ = settings;
    if (!find_jobs() || !faults_.allocate(allocator_, jobs_.size() + 1)) return out_of_memory();
    writes_may_fail_ =
        std::ranges::any_of(jobs_, [](const Job& job) { return !is_lent(job.target()); });
    const bool prepared = std::ranges::all_of(jobs_, [&](Job& job) { return prepare_job(job); }) &&
                          prepare_tasks() && prepare_workers();
    return prepared || out_of_memory();
}

bool Exchange::out_of_memory() noexcept {
    // Nothing of what follows runs, so that the list of faults is not needed for anything else.
    faults_.clear();
    fault_count_ = 0;
    return false;
}

std::span<const Fault> Exchange::faults() const noexcept {
    if (faults_.empty()) return {&no_memory, 1};
    return {faults_.data(), fault_count_};
}

/// One job for each tensor that either stack names: first those of the stack that comes.
bool Exchange::find_jobs() noexcept {
    Buffer<Job*> by_hash;
    if (!jobs_.allocate(allocator_, in_.size() + out_.size()) ||
        !by_hash.allocate(allocator_, in_.size())) {
        return false;
    }
    for (std::size_t i = 0; i < in_.size(); ++i) {
        jobs_[i].planned = &in_[i];
        by_hash[i] = &jobs_[i];
    }
    const auto hash_of = [](const Job* job) { return job->target().name_hash; };
    std::ranges::sort(by_hash, {}, hash_of);
    std::size_t count = in_.size();
    for (HeldTensor& held : out_) {
        Job** found = std::ranges::lower_bound(by_hash, held.target.name_hash, {}, hash_of);
        const bool named = found != by_hash.end() && hash_of(*found) == held.target.name_hash;
        Job& job = named ? **found : jobs_[count++];
        job.before = &held;
    }
    jobs_.shrink(count);
    return true;
}

bool Exchange::prepare_job(Job& job) noexcept {
    const MemoryTensor& target = job.target();
    const RowBytes whole = bytes_of(target);
    // Before an application it is the base that is copied; otherwise what lies there is neither
    // the base nor what will come.
    const bool remembers = writes_may_fail_ && (job.before != nullptr || !settings_.keep_base);
    if (remembers && !(job.former_payload.allocate(allocator_, whole.payload) &&
                       job.former_scales.allocate(allocator_, whole.scales))) {
        return false;
    }
    if (job.planned == nullptr) return true;
    const TensorView view{
        target.name, target.name_hash, target.dtype, target.shape, target.block_size, {}, {}};
    if (!job.fuser.prepare(view, {target.dtype, target.block_size}, job.planned->deltas,
                           settings_.rounding, settings_.survival, *settings_.kernels,
                           allocator_)) {
        return false;
    }
    HeldTensor& after = job.after;
    after.target = target;
    after.index = job.planned->index;
    after.chunk_rows = job.fuser.tile(0).rows;
    const bool copies_base = settings_.keep_base && job.before == nullptr;
    return (!copies_base || (after.payload.allocate(allocator_, whole.payload) &&
                             after.scales.allocate(allocator_, whole.scales))) &&
           (!settings_.keep_base ||
            after.checksums.allocate(allocator_, 2 * job.fuser.tile_count())) &&
           (!settings_.survival || job.rows.allocate(allocator_, target.shape.rows()));
}

/// Cuts the jobs into tasks of about the same size.
bool Exchange::prepare_tasks() noexcept {
    const std::uint64_t threads = std::max<std::size_t>(1, executor_.concurrency);
    std::uint64_t total = 0;
    for (const Job& job : jobs_)
        total += bytes_of(job.target()).payload;
    const std::uint64_t task_bytes =
        threads == 1 ? total : std::max<std::uint64_t>(1, total / (threads * tasks_per_thread));
    std::size_t count = 0;
    const auto visit = [&](bool counting) {
        count = 0;
        for (std::size_t i = 0; i < jobs_.size(); ++i) {
            const Job& job = jobs_[i];
            for (const bool computed : {false, true}) {
                if (computed ? job.planned == nullptr : job.before == nullptr) continue;
                const std::uint64_t chunks = chunk_count(job, computed);
                const std::uint64_t bytes = bytes_of(job.target()).payload;
                const std::uint64_t parts =
                    std::clamp<std::uint64_t>(bytes / task_bytes, 1, chunks);
                for (std::uint64_t part = 0; part < parts; ++part, ++count) {
                    if (counting) continue;
                    Task& task = tasks_[count];
                    task.job = i;
                    task.computed = computed;
                    task.first_chunk = chunks * part / parts;
                    task.chunks = chunks * (part + 1) / parts - task.first_chunk;
                    task.bytes = bytes / parts;
                }
            }
        }
    };
    visit(true);
    if (!tasks_.allocate(allocator_, count) || !chosen_.allocate(allocator_, count)) return false;
    visit(false);
    return true;
}

bool Exchange::prepare_workers() noexcept {
    const std::size_t concurrency = std::max<std::size_t>(1, executor_.concurrency);
    if (!workers_.allocate(allocator_, std::min(concurrency, tasks_.size()))) return false;
    return std::ranges::all_of(workers_, [&](Worker& worker) {
        return std::ranges::all_of(jobs_,
                                   [&](const Job& job) { return prepare_worker(worker, job); });
    });
}

bool Exchange::prepare_worker(Worker& worker, const Job& job) noexcept {
    std::uint64_t rows = 0;
    if (job.planned != nullptr) rows = std::max(rows, chunk_rows(job, true));
    if (job.before != nullptr) rows = std::max(rows, chunk_rows(job, false));
    const RowBytes bytes = bytes_of(job.target(), std::min(rows, job.target().shape.rows()));
    if (job.planned != nullptr && !(worker.scratch.reserve(job.fuser, allocator_) &&
                                    worker.new_payload.reserve(allocator_, bytes.payload) &&
                                    worker.new_scales.reserve(allocator_, bytes.scales))) {
        return false;
    }
    return is_lent(job.target()) || (worker.old_payload.reserve(allocator_, bytes.payload) &&
                                     worker.old_scales.reserve(allocator_, bytes.scales));
}

// ---------------------------------------------------------------------------------------- steps

bool Exchange::verify() noexcept {
    return gather_faults(run(Step::verify));
}

/// Whether the largest magnitude that a tensor has proves that nothing can overflow.
bool Exchange::is_proved(const Job& job) noexcept {
    if (job.largest >= kernels::infinity_bits) return false;
    const double values =
        static_cast<double>(std::bit_cast<float>(job.largest)) * largest_code(job.target().dtype);
    return proves_finite(values, job.planned->deltas);
}

bool Exchange::check(bool all) noexcept {
    // What the engine says of its values is believed where the base can be put back if it was
    // wrong. After another stack it could not be: the values are looked at then.
    const bool believed = out_.empty();
    bool bounds = false;
    for (Job& job : jobs_) {
        if (job.planned == nullptr) continue;
        job.needs_check = !all && !(believed && job.planned->proven_finite) &&
                          proves_finite(0, job.planned->deltas);
        bounds = bounds || job.needs_check;
    }
    // The values that a tensor has now may prove what its description did not. They are read once,
    // and nothing else is: much less than a check of every sum.
    if (bounds && !gather_faults(run(Step::bound))) return false;
    for (const Task& task : tasks_) {
        Job& job = jobs_[task.job];
        if (task.computed && job.needs_check) job.largest = std::max(job.largest, task.largest);
    }
    for (Job& job : jobs_) {
        if (job.planned == nullptr) continue;
        job.needs_check =
            job.needs_check ? !is_proved(job) : all || !(believed && job.planned->proven_finite);
    }
    return gather_faults(run(Step::check));
}

bool Exchange::look_for_change() noexcept {
    return changed_ || gather_faults(run(Step::look));
}

bool Exchange::change() noexcept {
    changed_ = false;
    if (gather_faults(run(Step::change))) return true;
    (void)run(Step::roll_back);
    return false;
}

void Exchange::take_held(std::span<HeldTensor> held) noexcept {
    std::size_t next = 0;
    for (Job& job : jobs_) {
        if (job.planned == nullptr) continue;
        if (job.before != nullptr) {
            job.after.payload = std::move(job.before->payload);
            job.after.scales = std::move(job.before->scales);
        }
        held[next++] = std::move(job.after);
    }
}

// ---------------------------------------------------------------------------------------- tasks

bool Exchange::takes_part(const Task& task) const noexcept {
    const Job& job = jobs_[task.job];
    switch (step_) {
        case Step::verify:
            return !task.computed;
        case Step::bound:
        case Step::check:
            return task.computed && job.needs_check;
        case Step::look:
            return task.computed;
        case Step::change:
        case Step::roll_back:
            break;
    }
    return task.computed || job.planned == nullptr;
}

/// Runs a step's tasks, the largest first. False when the executor did not run them all. While
/// memory is being changed, what it leaves is run here: by then everything is checked, and half a
/// change is worse than a late one.
bool Exchange::run(Step step) noexcept {
    step_ = step;
    stop_ = false;
    std::size_t count = 0;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
        Task& task = tasks_[i];
        if (!takes_part(task)) continue;
        task.started = false;
        task.done = false;
        if (step != Step::roll_back) {
            task.fault.reset();
            task.chunks_written = 0;
        }
        chosen_[count++] = i;
    }
    std::sort(chosen_.begin(), chosen_.begin() + count, [&](std::size_t a, std::size_t b) {
        return tasks_[a].bytes != tasks_[b].bytes ? tasks_[a].bytes > tasks_[b].bytes : a < b;
    });
    bool complete = true;
    if (executor_.parallel_for && count > 1) {
        complete = quietly([&] {
            executor_.parallel_for(count, [this](std::size_t i) { run_task(tasks_[chosen_[i]]); });
        });
    }
    const bool must_finish = step == Step::change || step == Step::roll_back;
    for (std::size_t i = 0; i < count; ++i) {
        Task& task = tasks_[chosen_[i]];
        const bool ours = must_finish || !executor_.parallel_for || count == 1;
        if (ours) {
            run_task(task);
        } else if (!task.started.exchange(true)) {
            complete = false;  // whoever comes for it later finds it taken
            task.done = true;
        }
        // A task that another thread still runs uses our memory.
        while (!task.done)
            std::this_thread::yield();
    }
    return complete || must_finish;
}

bool Exchange::gather_faults(bool complete) noexcept {
    fault_count_ = 0;
    std::size_t last = Fault::no_tensor;
    for (const Task& task : tasks_) {  // those of a job stand in the order of its rows
        if (!takes_part(task) || !task.fault || task.job == last) continue;
        last = task.job;
        faults_[fault_count_++] = *task.fault;
    }
    if (fault_count_ == 0 && !complete) {
        faults_[fault_count_++] = {FindingCode::executor_failed, Fault::no_tensor, 0};
    }
    return fault_count_ == 0;
}

/// A worker that nobody uses. There are as many as the executor says that it runs tasks at once;
/// where it runs more, they wait.
Exchange::Worker& Exchange::take_worker() noexcept {
    while (true) {
        for (Worker& worker : workers_) {
            if (!worker.busy.exchange(true)) return worker;
        }
        std::this_thread::yield();
    }
}

void Exchange::run_task(Task& task) noexcept {
    if (task.started.exchange(true)) return;
    Worker& worker = take_worker();
    Job& job = jobs_[task.job];
    {
        const FpEnvironment environment;
        const std::uint64_t chunks = step_ == Step::roll_back ? task.chunks_written : task.chunks;
        task.largest = 0;
        for (std::uint64_t i = 0; i < chunks && !stop_ && !(task.fault && step_ != Step::roll_back);
             ++i) {
            if (const auto code = run_chunk(job, task.first_chunk + i, task, worker)) {
                if (!task.fault) task.fault = Fault{*code, task.job, 0};
                // What was changed already must be put back: the less, the better.
                if (step_ == Step::change) stop_ = true;
            }
            if (step_ == Step::look && changed_) stop_ = true;
        }
    }
    worker.busy = false;
    task.done = true;
}

std::optional<FindingCode> Exchange::run_chunk(Job& job, std::uint64_t index, Task& task,
                                               Worker& worker) noexcept {
    const Tile tile = chunk(job, index, task.computed);
    switch (step_) {
        case Step::verify:
            return verify_chunk(job, index, worker);
        case Step::bound:
            return bound_chunk(job, tile, task, worker);
        case Step::check:
        case Step::look:
            return check_chunk(job, tile, task, worker);
        case Step::change:
            return change_chunk(job, index, task, worker);
        case Step::roll_back:
            break;
    }
    if (!roll_back_chunk(job, tile)) torn_ = true;
    return std::nullopt;
}

// --------------------------------------------------------------------------------------- chunks

std::optional<FindingCode> Exchange::verify_chunk(Job& job, std::uint64_t index,
                                                  Worker& worker) noexcept {
    const MemoryTensor& target = job.target();
    const Tile tile = chunk(job, index, false);
    OldTile now;
    if (!read_now(job, tile, worker, now)) return FindingCode::output_failed;
    const ChunkChecksums left{job.before->checksums[2 * index],
                              job.before->checksums[2 * index + 1]};
    if (checksums_of(target, tile, now) != left) return FindingCode::undo_stale;
    if (!job.former_payload.empty()) {
        copy_rows(target, tile, now, rows_in(target, tile, job.former_payload, job.former_scales));
    }
    return std::nullopt;
}

std::optional<FindingCode> Exchange::bound_chunk(const Job& job, const Tile& tile, Task& task,
                                                 Worker& worker) const noexcept {
    OldTile base;
    if (!read_base(job, tile, worker, base)) return FindingCode::output_failed;
    const RowBytes sizes = bytes_of(job.target(), tile.rows);
    const bool f32 = job.target().dtype == Dtype::f32;
    const std::byte* values = f32 ? base.payload : base.scales;
    const std::size_t count = (f32 ? sizes.payload : sizes.scales) / sizeof(float);
    task.largest = std::max(task.largest, settings_.kernels->max_magnitude(values, count));
    return std::nullopt;
}

std::optional<FindingCode> Exchange::check_chunk(const Job& job, const Tile& tile, Task& task,
                                                 Worker& worker) noexcept {
    OldTile base;
    if (!read_base(job, tile, worker, base)) return FindingCode::output_failed;
    if (fuse(job, tile, base, {worker.new_payload.data(), worker.new_scales.data()}, task,
             worker)) {
        return std::nullopt;
    }
    return FindingCode::fused_non_finite;
}

/// False when something cannot be stored; the task's fault says where.
bool Exchange::fuse(const Job& job, const Tile& tile, const OldTile& old, const NewTile& fused,
                    Task& task, Worker& worker) noexcept {
    TileOutcome outcome;
    if (!job.rows.empty()) outcome.rows = job.rows.data() + tile.first_row;
    // Once something has changed it does not matter what else does.
    const bool watch = !changed_.load(std::memory_order_relaxed);
    job.fuser.fuse(tile, old, worker.scratch, fused, watch, outcome);
    if (outcome.changed) changed_ = true;
    if (outcome.bad) task.fault = Fault{FindingCode::fused_non_finite, task.job, *outcome.bad};
    return !outcome.bad;
}

std::optional<FindingCode> Exchange::change_chunk(Job& job, std::uint64_t index, Task& task,
                                                  Worker& worker) noexcept {
    const MemoryTensor& target = job.target();
    const Tile tile = chunk(job, index, task.computed);
    OldTile base;
    if (!read_base(job, tile, worker, base)) return FindingCode::output_failed;
    if (job.planned == nullptr) {
        ++task.chunks_written;
        if (write(job, tile, base)) return std::nullopt;
        return FindingCode::output_failed;
    }
    if (!job.after.payload.empty()) {
        copy_rows(target, tile, base, rows_in(target, tile, job.after.payload, job.after.scales));
    } else if (job.before == nullptr && !job.former_payload.empty()) {
        copy_rows(target, tile, base, rows_in(target, tile, job.former_payload, job.former_scales));
    }
    const NewTile fused = is_lent(target)
                              ? rows_at(target, tile, target.payload.data(), target.scales.data())
                              : NewTile{worker.new_payload.data(), worker.new_scales.data()};
    ++task.chunks_written;
    if (!fuse(job, tile, base, fused, task, worker)) return FindingCode::fused_non_finite;
    if (settings_.keep_base) {
        const ChunkChecksums checksums = checksums_of(target, tile, as_old(fused));
        job.after.checksums[2 * index] = checksums.payload;
        job.after.checksums[2 * index + 1] = checksums.scales;
    }
    if (is_lent(target) || write(job, tile, as_old(fused))) return std::nullopt;
    return FindingCode::output_failed;
}

bool Exchange::roll_back_chunk(const Job& job, const Tile& tile) const noexcept {
    const MemoryTensor& target = job.target();
    if (!job.former_payload.empty()) {
        return write(job, tile,
                     as_old(rows_in(target, tile, job.former_payload, job.former_scales)));
    }
    if (job.after.payload.empty()) return false;
    return write(job, tile, as_old(rows_in(target, tile, job.after.payload, job.after.scales)));
}

/// The rows as they are now. Those of a tensor that is not lent are copied into the worker.
bool Exchange::read_now(const Job& job, const Tile& tile, Worker& worker,
                        OldTile& bytes) const noexcept {
    const MemoryTensor& target = job.target();
    if (is_lent(target)) {
        bytes = as_old(rows_at(target, tile, target.payload.data(), target.scales.data()));
        return true;
    }
    const RowBytes sizes = bytes_of(target, tile.rows);
    const std::size_t tensor = job.planned != nullptr ? job.planned->index : job.before->index;
    bool read = false;
    const bool returned = quietly([&] {
        read = access_.read({tensor, tile.first_row, tile.rows},
                            {worker.old_payload.data(), sizes.payload},
                            {worker.old_scales.data(), sizes.scales});
    });
    bytes = {worker.old_payload.data(), worker.old_scales.data()};
    return returned && read;
}

/// The rows as they are without any stack.
bool Exchange::read_base(const Job& job, const Tile& tile, Worker& worker,
                         OldTile& bytes) const noexcept {
    if (job.before == nullptr) return read_now(job, tile, worker, bytes);
    bytes = as_old(rows_in(job.target(), tile, job.before->payload, job.before->scales));
    return true;
}

bool Exchange::write(const Job& job, const Tile& tile, const OldTile& bytes) const noexcept {
    const MemoryTensor& target = job.target();
    if (is_lent(target)) {
        copy_rows(target, tile, bytes,
                  rows_at(target, tile, target.payload.data(), target.scales.data()));
        return true;
    }
    const RowBytes sizes = bytes_of(target, tile.rows);
    const std::size_t tensor = job.planned != nullptr ? job.planned->index : job.before->index;
    bool written = false;
    const bool returned = quietly([&] {
        written = access_.write({tensor, tile.first_row, tile.rows}, {bytes.payload, sizes.payload},
                                {bytes.scales, sizes.scales});
    });
    return returned && written;
}

}  // namespace trlm::adapt
