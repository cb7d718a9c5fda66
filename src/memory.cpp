#include "trlm/adapt/memory.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <map>

#include <fmt/format.h>

#include "effects.hpp"
#include "fp_environment.hpp"
#include "guard.hpp"
#include "scratch_pool.hpp"
#include "stack_rules.hpp"
#include "trlm/adapt/checked.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/simd.hpp"

namespace trlm::adapt {
namespace {

/// Tasks for each thread: enough that a slow one does not stall the others.
constexpr std::size_t tasks_per_thread = 8;

// --------------------------------------------------------------------- the engine's description

class ViewChecker {
public:
    explicit ViewChecker(const MemoryModel& model) : model_(model) {}

    [[nodiscard]] Findings run() {
        for (const MemoryTensor& tensor : model_.tensors)
            check(tensor);
        check_overlaps();
        check_identity();
        return std::move(findings_);
    }

private:
    void complain(const MemoryTensor& tensor, std::string message) {
        Finding finding = make_finding(FindingCode::bad_view, std::move(message));
        finding.tensor = tensor_label(tensor.name, tensor.name_hash);
        findings_.add(std::move(finding));
    }

    void check(const MemoryTensor& tensor) {
        if (!is_supported(tensor.dtype)) {
            Finding finding =
                make_finding(FindingCode::unsupported_dtype,
                             fmt::format("dtype {} is not f32 (1), q8_0 (2) or q4_0 (3)",
                                         static_cast<std::uint32_t>(tensor.dtype)));
            finding.tensor = tensor_label(tensor.name, tensor.name_hash);
            findings_.add(std::move(finding));
            return;
        }
        if (!tensor.name.empty() && tensor_name_hash(tensor.name) != tensor.name_hash) {
            complain(tensor, "its name does not have its name hash");
        }
        if (!check_shape(tensor)) return;
        check_block_size(tensor);
        check_span(tensor, "payload", tensor.payload, payload_bytes(tensor.dtype, tensor.shape),
                   tensor.dtype == Dtype::f32);
        check_span(
            tensor, "scales", tensor.scales,
            scale_count(tensor.dtype, tensor.shape, tensor.block_size) * CheckedSize(sizeof(float)),
            true);
        if (tensor.max_abs && !(*tensor.max_abs >= 0.0F)) {
            complain(tensor, "its max_abs is negative or not a number");
        }
    }

    [[nodiscard]] bool check_shape(const MemoryTensor& tensor) {
        const Shape& shape = tensor.shape;
        bool good = shape.rank >= 1 && shape.rank <= limits::tensor_rank;
        for (std::uint32_t i = 0; i < limits::tensor_rank; ++i) {
            const std::uint32_t dim = shape.dims[i];
            good = good && dim >= 1 && dim <= limits::dim && (i < shape.rank || dim == 1);
        }
        if (!good || !shape.elements().fits(limits::elements)) {
            complain(tensor,
                     "its shape has a rank outside 1 to 4, a dimension of 0 or above "
                     "2147483647, an unused one that is not 1, or more than 2^40 elements");
            return false;
        }
        return true;
    }

    void check_block_size(const MemoryTensor& tensor) {
        const std::uint64_t cols = tensor.shape.cols();
        const std::uint32_t size = tensor.block_size;
        const bool good = tensor.dtype == Dtype::f32 ? size == 0
                          : tensor.dtype == Dtype::q8_0
                              ? size == cols
                              : size > 0 && size % 2 == 0 && cols % size == 0;
        if (!good) {
            complain(tensor, fmt::format("block size {} does not fit {} with {} columns", size,
                                         to_string(tensor.dtype), cols));
        }
    }

    void check_span(const MemoryTensor& tensor, std::string_view what, MutableBytes span,
                    CheckedSize expected, bool of_floats) {
        if (span.size() != expected.value()) {
            complain(tensor, fmt::format("its {} span has {} bytes, but dtype and shape need {}",
                                         what, span.size(), expected.value()));
            return;
        }
        if (span.empty()) return;
        if (span.data() == nullptr) {
            complain(tensor, fmt::format("its {} span is null", what));
            return;
        }
        const auto address = reinterpret_cast<std::uintptr_t>(span.data());
        if (of_floats && address % alignof(float) != 0) {
            complain(tensor, fmt::format("its {} span is not aligned for f32", what));
        }
        spans_.push_back({address, span.size(), &tensor});
    }

    void check_overlaps() {
        std::ranges::sort(spans_, {}, &Span::begin);
        for (std::size_t i = 1; i < spans_.size(); ++i) {
            const Span& before = spans_[i - 1];
            if (before.begin + before.size > spans_[i].begin) {
                complain(*spans_[i].tensor,
                         fmt::format("its memory overlaps that of {}",
                                     tensor_label(before.tensor->name, before.tensor->name_hash)));
            }
        }
    }

    /// An identity that is not that of the tensors would let a wrong adapter pass.
    void check_identity() {
        if (findings_.has_errors()) return;
        std::vector<LayoutEntry> layout;
        CheckedSize parameters = 0;
        for (const MemoryTensor& tensor : model_.tensors) {
            layout.push_back({tensor.name_hash, tensor.shape});
            parameters = parameters + tensor.shape.elements();
        }
        std::ranges::sort(layout, {}, &LayoutEntry::name_hash);
        for (std::size_t i = 1; i < layout.size(); ++i) {
            if (layout[i].name_hash == layout[i - 1].name_hash) {
                Finding finding = make_finding(FindingCode::bad_view, "it is described twice");
                finding.tensor = tensor_label({}, layout[i].name_hash);
                findings_.add(std::move(finding));
            }
        }
        const Identity& identity = model_.identity;
        if (identity.tensor_count != model_.tensors.size() ||
            identity.parameter_count != parameters.value() ||
            identity.tensor_layout_checksum != tensor_layout_checksum(layout)) {
            findings_.add(make_finding(
                FindingCode::bad_view,
                "the model's identity is not that of the tensors described: its tensor count, "
                "parameter count or layout checksum differs"));
        }
    }

    struct Span {
        std::uintptr_t begin = 0;
        std::size_t size = 0;
        const MemoryTensor* tensor = nullptr;
    };

    const MemoryModel& model_;
    std::vector<Span> spans_;
    Findings findings_;
};

TensorView view_of(const MemoryTensor& tensor) {
    return {tensor.name,       tensor.name_hash, tensor.dtype, tensor.shape,
            tensor.block_size, tensor.payload,   tensor.scales};
}

// ------------------------------------------------------------------------------ the transaction

class Transaction {
public:
    Transaction(const MemoryPlan& plan, const ApplyOptions& options)
        : plan_(plan), options_(options), kernels_(*kernels::find(options.simd_target)) {
        for (const MemoryPlan::Tensor& tensor : plan.tensors) {
            total_ += tensor.target.payload.size();
        }
    }

    [[nodiscard]] Result<ApplyReport> run() {
        const bool measure = options_.survival || options_.min_survival.has_value();
        prepare(measure);
        // A threshold must be judged before anything changes, and so must a value that may
        // overflow; all else can be found out on the way.
        const bool check_all = options_.min_survival.has_value();
        for (Job& job : jobs_) {
            if (!check_all && job.tensor->proven_finite) continue;
            if (check_all || !values_prove_finite(job)) visit(job, Step::check);
            if (!progress()) break;
        }
        ApplyReport report;
        report.state = plan_.state;
        if (!findings_.has_errors() && check_all) {
            report.zero_effect = !changed_;
            report.kept = kept_of_stack(survivals());
            judge_effect(options_, report, findings_);
            report.warnings = {};  // judged again below
        }
        if (findings_.has_errors()) return failure(std::move(findings_));

        changed_ = false;
        for (Job& job : jobs_)
            visit(job, Step::change);
        report.zero_effect = !changed_;
        if (measure) {
            report.tensors = survivals();
            report.kept = kept_of_stack(report.tensors);
        }
        judge_effect(options_, report, findings_);
        if (findings_.has_errors()) return failure(std::move(findings_));
        return report;
    }

private:
    enum class Step {
        bound,  ///< looks for the largest magnitude there is
        check,
        change
    };

    /// A run of tiles of one tensor.
    struct Task {
        std::uint64_t first_tile = 0;
        std::uint64_t tiles = 0;
        TileOutcome outcome;
        std::uint32_t largest = 0;  ///< bits of the largest magnitude
        bool done = false;
        bool out_of_memory = false;
    };

    /// A tensor with all that its change needs.
    struct Job {
        const MemoryPlan::Tensor* tensor = nullptr;
        std::unique_ptr<TensorFuser> fuser;
        std::vector<Task> tasks;
        TensorSurvival survival;
    };

    /// Everything is allocated here: once memory is being changed, nothing may fail.
    void prepare(bool measure) {
        std::uint64_t largest = 0;
        for (const MemoryPlan::Tensor& tensor : plan_.tensors) {
            Job job;
            job.tensor = &tensor;
            job.fuser = std::make_unique<TensorFuser>(
                view_of(tensor.target),
                TensorStorage{tensor.target.dtype, tensor.target.block_size}, tensor.deltas,
                options_.rounding, measure, kernels_);
            job.tasks = split(job.fuser->tile_count());
            for (Task& task : job.tasks) {
                if (measure) task.outcome.survival.reserve(task.tiles * job.fuser->tile(0).rows);
            }
            job.survival = no_survival_yet(job.fuser->tensor());
            largest = std::max<std::uint64_t>(largest, job.tasks.size());
            jobs_.push_back(std::move(job));
        }
        std::vector<std::unique_ptr<FuseScratch>> warm;
        const std::uint64_t workers = std::min<std::uint64_t>(
            std::max<std::size_t>(1, options_.executor.concurrency), largest);
        for (std::uint64_t i = 0; i < workers; ++i) {
            warm.push_back(scratch_.take());
            const FpEnvironment environment;
            for (const Job& job : jobs_)
                check_tile(*job.fuser, job.fuser->tile(0), *warm.back(), true);
        }
        for (auto& scratch : warm)
            scratch_.give(std::move(scratch));
    }

    [[nodiscard]] std::vector<TensorSurvival> survivals() const {
        std::vector<TensorSurvival> all;
        for (const Job& job : jobs_)
            all.push_back(job.survival);
        return all;
    }

    [[nodiscard]] bool progress() {
        if (!options_.progress || options_.progress(done_, total_)) return true;
        findings_.add(
            make_finding(FindingCode::output_failed, "cancelled before anything was changed"));
        return false;
    }

    /// Whether the values that a tensor has now prove what its description did not. They are read
    /// once, and nothing else is: much less than a check of every sum.
    [[nodiscard]] bool values_prove_finite(Job& job) {
        const MemoryPlan::Tensor& tensor = *job.tensor;
        if (!proves_finite(0, tensor.deltas)) return false;  // whatever the values are
        run_all(job, Step::bound);
        std::uint32_t largest = 0;
        for (const Task& task : job.tasks) {
            if (!task.done) return false;  // the check says what the executor did wrong
            largest = std::max(largest, task.largest);
        }
        if (largest >= kernels::infinity_bits) return false;
        const double values =
            static_cast<double>(std::bit_cast<float>(largest)) * largest_code(tensor.target.dtype);
        return proves_finite(values, tensor.deltas);
    }

    void visit(Job& job, Step step) {
        run_all(job, step);
        job.survival = no_survival_yet(job.fuser->tensor());
        for (const Task& task : job.tasks) {
            if (task.out_of_memory) {
                findings_.add(make_finding(FindingCode::out_of_memory,
                                           "there is not enough memory for a tile of the tensor"));
                break;
            }
            if (task.outcome.bad) {
                findings_.add(fused_non_finite(job.fuser->tensor(), *task.outcome.bad));
                break;
            }
            if (task.outcome.changed) changed_ = true;
            add_survival(job.survival, task.outcome);
        }
        if (step == Step::change) done_ += job.tensor->target.payload.size();
    }

    [[nodiscard]] std::vector<Task> split(std::uint64_t tiles) const {
        const std::size_t threads = std::max<std::size_t>(1, options_.executor.concurrency);
        const std::uint64_t wanted = threads == 1 ? 1 : threads * tasks_per_thread;
        const std::uint64_t count = std::min<std::uint64_t>(tiles, wanted);
        std::vector<Task> tasks(count);
        for (std::uint64_t i = 0; i < count; ++i) {
            tasks[i].first_tile = tiles * i / count;
            tasks[i].tiles = tiles * (i + 1) / count - tasks[i].first_tile;
        }
        return tasks;
    }

    /// Runs the tasks. One that the executor drops while memory is being changed is run here: by
    /// then everything is checked, and half an application is worse than a late one.
    void run_all(Job& job, Step step) {
        for (Task& task : job.tasks) {
            task.done = false;
            task.largest = 0;
            task.outcome.bad.reset();
            task.outcome.changed = false;
            task.outcome.survival.clear();
        }
        const auto work = [&](std::size_t i) { run_task(job, step, job.tasks[i]); };
        bool failed = false;
        if (options_.executor.parallel_for && job.tasks.size() > 1) {
            try {
                options_.executor.parallel_for(job.tasks.size(), work);
            } catch (...) {
                failed = true;
            }
        } else {
            for (std::size_t i = 0; i < job.tasks.size(); ++i)
                work(i);
        }
        for (std::size_t i = 0; i < job.tasks.size(); ++i) {
            if (job.tasks[i].done) continue;
            failed = true;
            if (step == Step::change) work(i);
        }
        if (failed && step == Step::check) {
            findings_.add(make_finding(FindingCode::executor_failed,
                                       "the executor threw, or returned before it had run every "
                                       "task; nothing was changed"));
        }
    }

    /// The largest magnitude of a task's values, or of their scales.
    void bound_task(const Job& job, Task& task) const noexcept {
        const TensorFuser& fuser = *job.fuser;
        const TensorView& view = fuser.tensor();
        const bool f32 = view.dtype == Dtype::f32;
        for (std::uint64_t i = 0; i < task.tiles; ++i) {
            const Tile tile = fuser.tile(task.first_tile + i);
            const Bytes values =
                f32 ? slice(view.payload, fuser.payload_offset(tile), fuser.payload_bytes(tile))
                    : slice(view.scales, fuser.scale_offset(tile), fuser.scale_bytes(tile));
            task.largest = std::max(
                task.largest, kernels_.max_magnitude(values.data(), values.size() / sizeof(float)));
        }
        task.done = true;
    }

    void run_task(const Job& job, Step step, Task& task) noexcept {
        if (step == Step::bound) return bound_task(job, task);
        try {
            const FpEnvironment environment;
            auto scratch = scratch_.take();
            const TileOutcome& outcome = scratch->outcome;
            for (std::uint64_t i = 0; i < task.tiles && !task.outcome.bad; ++i) {
                const TensorFuser& fuser = *job.fuser;
                const Tile tile = fuser.tile(task.first_tile + i);
                const bool watch = !task.outcome.changed && !changed_;
                if (step == Step::change) {
                    const MemoryTensor& target = job.tensor->target;
                    fuser.fuse(tile, *scratch, target.payload.data() + fuser.payload_offset(tile),
                               target.scales.data() + fuser.scale_offset(tile), watch,
                               scratch->outcome);
                } else {
                    check_tile(fuser, tile, *scratch, watch);
                }
                task.outcome.changed = task.outcome.changed || outcome.changed;
                task.outcome.bad = outcome.bad;
                task.outcome.survival.insert(task.outcome.survival.end(), outcome.survival.begin(),
                                             outcome.survival.end());
            }
            scratch_.give(std::move(scratch));
        } catch (const std::bad_alloc&) {
            task.out_of_memory = true;
        }
        task.done = true;
    }

    /// The same computation into buffers that are thrown away.
    static void check_tile(const TensorFuser& fuser, const Tile& tile, FuseScratch& scratch,
                           bool watch) {
        scratch.discarded_payload.resize(fuser.payload_bytes(tile));
        scratch.discarded_scales.resize(fuser.scale_bytes(tile));
        fuser.fuse(tile, scratch, scratch.discarded_payload.data(), scratch.discarded_scales.data(),
                   watch, scratch.outcome);
    }

    const MemoryPlan& plan_;
    const ApplyOptions& options_;
    const kernels::Table& kernels_;
    ScratchPool scratch_;
    std::vector<Job> jobs_;
    Findings findings_;
    std::atomic<bool> changed_ = false;
    std::uint64_t done_ = 0;
    std::uint64_t total_ = 0;
};

}  // namespace

Result<MemoryPlan> plan_in_memory(const MemoryModel& model, std::span<const StackMember> stack) {
    return guarded([&]() -> Result<MemoryPlan> {
        Findings findings = ViewChecker(model).run();
        if (findings.has_errors()) return failure(std::move(findings));
        std::map<std::uint64_t, const MemoryTensor*> by_hash;
        for (const MemoryTensor& tensor : model.tensors)
            by_hash[tensor.name_hash] = &tensor;
        const auto find = [&](std::uint64_t name_hash) -> std::optional<KnownTensor> {
            const auto found = by_hash.find(name_hash);
            if (found == by_hash.end()) return std::nullopt;
            return KnownTensor{found->second->name, found->second->shape};
        };
        findings = check_stack(model.identity, find, stack);
        if (findings.has_errors()) return failure(std::move(findings));

        std::map<std::uint64_t, std::vector<PlannedDelta>> deltas;
        for (const StackMember& member : stack) {
            const auto entries = member.package->entries();
            for (std::size_t i = 0; i < entries.size(); ++i) {
                deltas[entries[i].name_hash].push_back(
                    planned_delta(*member.package, i, member.strength));
            }
        }
        MemoryPlan plan;
        for (const MemoryTensor& tensor : model.tensors) {
            const auto found = deltas.find(tensor.name_hash);
            if (found == deltas.end()) continue;
            const bool proven = tensor.max_abs && proves_finite(*tensor.max_abs, found->second);
            plan.tensors.push_back({tensor, std::move(found->second), proven});
        }
        plan.state = state_after(model.identity, stack);
        return plan;
    });
}

Result<ApplyReport> apply_in_memory(const MemoryPlan& plan, const ApplyOptions& options) {
    return guarded([&]() -> Result<ApplyReport> {
        if (Status known = check_simd_target(options.simd_target); !known) {
            return failure(std::move(known.error()));
        }
        return Transaction(plan, options).run();
    });
}

}  // namespace trlm::adapt
