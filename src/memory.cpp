#include "trlm/adapt/memory.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "effects.hpp"
#include "exchange.hpp"
#include "going_on.hpp"
#include "guard.hpp"
#include "quietly.hpp"
#include "stack_rules.hpp"
#include "trlm/adapt/simd.hpp"
#include "view_rules.hpp"

namespace trlm::adapt {
namespace {

// --------------------------------------------------------------------- the engine's description

std::string in_words(const ViewFault& fault, const MemoryModel& model) {
    const auto& tensor =
        fault.tensor == ViewFault::no_tensor ? MemoryTensor{} : model.tensors[fault.tensor];
    const auto size = [&](std::string_view what, MutableBytes span, CheckedSize expected) {
        return fmt::format("its {} span has {} bytes, but dtype and shape need {}", what,
                           span.size(), expected.value());
    };
    switch (fault.defect) {
        case ViewDefect::half_an_access:
            return "of the access's read and write only one is given; give both";
        case ViewDefect::half_an_allocator:
            return "of the allocator's allocate and release only one is given; give both";
        case ViewDefect::half_a_quiescence:
            return "of the quiescence's begin and end only one is given; give both";
        case ViewDefect::identity_differs:
            return "the model's identity is not that of the tensors described: its tensor count, "
                   "parameter count or layout checksum differs";
        case ViewDefect::dtype_unknown:
            return fmt::format("dtype {} is not f32 (1), q8_0 (2) or q4_0 (3)",
                               static_cast<std::uint32_t>(tensor.dtype));
        case ViewDefect::name_differs:
            return "its name does not have its name hash";
        case ViewDefect::shape_bad:
            return "its shape has a rank outside 1 to 4, a dimension of 0 or above 2147483647, an "
                   "unused one that is not 1, or more than 2^40 elements";
        case ViewDefect::block_size_bad:
            return fmt::format("block size {} does not fit {} with {} columns", tensor.block_size,
                               to_string(tensor.dtype), tensor.shape.cols());
        case ViewDefect::bound_bad:
            return "its max_abs is negative or not a number";
        case ViewDefect::payload_size:
            return size("payload", tensor.payload, payload_bytes(tensor.dtype, tensor.shape));
        case ViewDefect::scales_size:
            return size("scales", tensor.scales,
                        scale_count(tensor.dtype, tensor.shape, tensor.block_size) *
                            CheckedSize(sizeof(float)));
        case ViewDefect::payload_null:
            return "its payload span is null";
        case ViewDefect::scales_null:
            return "its scales span is null";
        case ViewDefect::payload_misaligned:
            return "its payload span is not aligned for f32";
        case ViewDefect::scales_misaligned:
            return "its scales span is not aligned for f32";
        case ViewDefect::overlaps: {
            const MemoryTensor& other = model.tensors[fault.other];
            return fmt::format("its memory overlaps that of {}",
                               tensor_label(other.name, other.hash()));
        }
        case ViewDefect::named_twice:
            return "it is described twice";
    }
    return {};
}

Finding described(const ViewFault& fault, const MemoryModel& model) {
    Finding finding =
        make_finding(fault.defect == ViewDefect::dtype_unknown ? FindingCode::unsupported_dtype
                                                               : FindingCode::bad_view,
                     in_words(fault, model));
    if (fault.tensor != ViewFault::no_tensor) {
        const MemoryTensor& tensor = model.tensors[fault.tensor];
        finding.tensor = tensor_label(tensor.name, tensor.hash());
    }
    return finding;
}

Findings check_description(const MemoryModel& model) {
    Findings findings;
    const bool enough_memory =
        check_views(model, [&](const ViewFault& fault) { findings.add(described(fault, model)); });
    if (!enough_memory) {
        findings.add(make_finding(FindingCode::out_of_memory,
                                  "the allocator has no memory left to check the tensors with"));
    }
    return findings;
}

TensorView view_of(const MemoryTensor& tensor) {
    return {tensor.name,       tensor.name_hash, tensor.dtype, tensor.shape,
            tensor.block_size, tensor.payload,   tensor.scales};
}

// ------------------------------------------------------------------------------ the transaction

/// A fault in words.
Finding described(const Exchange& exchange, const Fault& fault) {
    const bool torn = exchange.is_torn();
    const std::string_view after =
        torn ? "; what was there could not be put back: load the model anew"
             : "; nothing was changed";
    Finding finding = make_finding(fault.code, {});
    switch (fault.code) {
        case FindingCode::out_of_memory:
            finding.message =
                "the allocator has no memory left for this application; nothing was "
                "changed";
            return finding;
        case FindingCode::executor_failed:
            finding.message =
                "the executor threw, or returned before it had run every task; "
                "nothing was changed";
            return finding;
        case FindingCode::undo_stale:
            finding.message =
                "its bytes are not those that the application left there; undo what "
                "was done to it since, or load the model anew";
            break;
        case FindingCode::output_failed:
            finding.message =
                fmt::format("the engine's access did not read or write its rows{}", after);
            break;
        default:
            break;
    }
    const MemoryTensor& target = exchange.jobs()[fault.job].target();
    if (fault.code == FindingCode::fused_non_finite) {
        finding = fused_non_finite(view_of(target), fault.place);
        if (torn) finding.message += std::string("; its max_abs was wrong") += after;
    }
    finding.tensor = tensor_label(target.name, target.name_hash);
    return finding;
}

Findings described(const Exchange& exchange) {
    Findings findings;
    for (const Fault& fault : exchange.faults())
        findings.add(described(exchange, fault));
    return findings;
}

/// Of each tensor of the plan, before anything was measured.
std::vector<TensorSurvival> no_survivals_yet(const MemoryPlan& plan) {
    std::vector<TensorSurvival> all;
    for (const MemoryPlan::Tensor& tensor : plan.tensors)
        all.push_back(no_survival_yet(view_of(tensor.target)));
    return all;
}

/// Takes what was measured into `report`, which has a place for each tensor of the plan.
void take_survivals(const Exchange& exchange, ApplyReport& report) noexcept {
    for (std::size_t i = 0; i < report.tensors.size(); ++i) {  // the plan's jobs come first
        const Exchange::Job& job = exchange.jobs()[i];
        add_survival(report.tensors[i], {job.rows.data(), job.rows.size()});
    }
    report.kept = kept_of_stack(report.tensors);
}

/// The engine at rest, from the moment it is until the end of the block.
class Rest {
public:
    explicit Rest(const Quiescence& quiescence) noexcept : quiescence_(quiescence) {
        if (!quiescence_.begin) {
            began_ = true;
            return;
        }
        const bool returned = quietly([&] { began_ = quiescence_.begin(); });
        began_ = began_ && returned;
    }
    ~Rest() {
        if (began_ && quiescence_.end) (void)quietly([&] { quiescence_.end(); });
    }
    Rest(const Rest&) = delete;
    Rest& operator=(const Rest&) = delete;

    [[nodiscard]] bool began() const noexcept { return began_; }

private:
    const Quiescence& quiescence_;
    bool began_ = false;
};

Status change_at_rest(Exchange& exchange, const Quiescence& quiescence) {
    const Rest rest(quiescence);
    if (!rest.began()) {
        return failure(make_finding(FindingCode::output_failed,
                                    "the engine did not come to rest: its quiescence said no or "
                                    "threw; nothing was changed"));
    }
    if (!exchange.change()) return failure(described(exchange));
    return {};
}

/// What an exchange is to do, in terms of the public calls.
struct Request {
    std::span<HeldTensor> out;       ///< of the stack that goes
    const MemoryPlan* in = nullptr;  ///< of the one that comes
    const ApplyOptions* options = nullptr;
    bool was_applied = false;
};

Status cancelled(const ApplyOptions& options, std::uint64_t done) {
    if (goes_on(options.progress, done, 2)) return {};
    return failure(
        make_finding(FindingCode::output_failed, "cancelled before anything was changed"));
}

/// Everything that can be known before the first byte changes.
Status check_before(Exchange& exchange, const Request& request) {
    const ApplyOptions& options = *request.options;
    if (!exchange.verify()) return failure(described(exchange));
    if (Status going = cancelled(options, 0); !going) return going;
    const bool judge_survival = options.min_survival.has_value();
    if (!exchange.check(judge_survival)) return failure(described(exchange));
    // Without a stack in memory an application that has no effect is found out on the way: it
    // has changed nothing.
    const bool judge_change = judge_survival || (request.was_applied && !options.allow_no_effect);
    if (judge_change) {
        if (!exchange.look_for_change()) return failure(described(exchange));
        ApplyReport report;
        report.zero_effect = !exchange.changed();
        if (judge_survival) {
            report.tensors = no_survivals_yet(*request.in);
            take_survivals(exchange, report);
        }
        Findings findings;
        judge_effect(options, report, findings);
        if (findings.has_errors()) return failure(std::move(findings));
    }
    return cancelled(options, 1);
}

/// Applies `request.in`. `held` is room for what it changes.
Result<ApplyReport> exchange_stacks(const Request& request, Buffer<HeldTensor>& held) {
    const ApplyOptions& options = *request.options;
    const MemoryPlan& plan = *request.in;
    if (Status known = check_simd_target(options.simd_target); !known) {
        return failure(std::move(known.error()));
    }
    std::vector<ExchangeTensor> in;
    for (const MemoryPlan::Tensor& tensor : plan.tensors)
        in.push_back({tensor.target, tensor.deltas, tensor.proven_finite, tensor.index});
    Exchange exchange(request.out, in, plan.access, plan.allocator, options.executor);
    const bool survival = options.survival || options.min_survival.has_value();
    if (!held.allocate(plan.allocator, plan.tensors.size()) ||
        !exchange.prepare(
            {options.rounding, survival, plan.keep_base, kernels::find(options.simd_target)})) {
        return failure(described(exchange));
    }
    ApplyReport report;
    report.state = plan.state;
    if (survival) report.tensors = no_survivals_yet(plan);
    if (Status good = check_before(exchange, request); !good) {
        return failure(std::move(good.error()));
    }
    if (Status changed = change_at_rest(exchange, plan.quiescence); !changed) {
        return failure(std::move(changed.error()));
    }
    // From here on nothing may fail, unless nothing has changed.
    report.zero_effect = !exchange.changed();
    if (survival) take_survivals(exchange, report);
    exchange.take_held({held.data(), held.size()});
    Findings findings;
    const auto judge = [&] { judge_effect(options, report, findings); };
    if (report.zero_effect) {
        judge();
    } else if (!quietly(judge)) {
        findings = {};  // what was judged before stands; a warning has no room
    }
    if (findings.has_errors()) return failure(std::move(findings));
    return report;
}

}  // namespace

Result<std::vector<MemoryTensor>> memory_tensors(const Model& model, MutableBytes file) {
    return guarded([&]() -> Result<std::vector<MemoryTensor>> {
        if (file.size() != model.bytes().size()) {
            return failure(Finding{
                .code = FindingCode::bad_view,
                .message = "the memory given for the model's file is not of the file's size",
                .expected = fmt::format("{} bytes", model.bytes().size()),
                .actual = fmt::format("{} bytes", file.size())});
        }
        std::vector<MemoryTensor> tensors;
        tensors.reserve(model.tensors().size());
        for (const ModelTensor& tensor : model.tensors()) {
            const auto part = [&](std::uint64_t offset, std::uint64_t length) {
                return file.subspan(static_cast<std::size_t>(offset),
                                    static_cast<std::size_t>(length));
            };
            tensors.push_back({.name_hash = tensor.name_hash,
                               .name = tensor.name,
                               .dtype = tensor.dtype,
                               .shape = tensor.shape,
                               .block_size = tensor.block_size,
                               .payload = part(tensor.payload_offset, tensor.payload_length),
                               .scales = part(tensor.scale_offset, tensor.scale_length),
                               .max_abs = tensor.max_abs});
        }
        return tensors;
    });
}

Result<MemoryPlan> plan_in_memory(const MemoryModel& model, std::span<const StackMember> stack) {
    return guarded([&]() -> Result<MemoryPlan> {
        Findings findings = check_description(model);
        if (findings.has_errors()) return failure(std::move(findings));
        std::map<std::uint64_t, const MemoryTensor*> by_hash;
        for (const MemoryTensor& tensor : model.tensors)
            by_hash[tensor.hash()] = &tensor;
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
        for (std::size_t i = 0; i < model.tensors.size(); ++i) {
            const MemoryTensor& tensor = model.tensors[i];
            const auto found = deltas.find(tensor.hash());
            if (found == deltas.end()) continue;
            const bool proven = tensor.max_abs && proves_finite(*tensor.max_abs, found->second);
            plan.tensors.push_back({tensor, std::move(found->second), proven, i});
            plan.tensors.back().target.name_hash = tensor.hash();
        }
        plan.state = state_after(model.identity, stack);
        plan.base_state = initial_state(model.identity);
        plan.access = model.access;
        plan.allocator = model.allocator;
        plan.quiescence = model.quiescence;
        plan.keep_base = model.keep_base;
        return plan;
    });
}

// -------------------------------------------------------------------------------------- applied

/// What is in memory and how it gets out again.
struct Applied::State {
    MemoryPlan host;  // access, allocator, quiescence and base_state of the last plan
    Buffer<HeldTensor> held;
    ApplyReport report;
    bool applied = true;
};

Applied::Applied(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Applied::Applied(Applied&& other) noexcept = default;
Applied& Applied::operator=(Applied&& other) noexcept = default;
Applied::~Applied() = default;

const ApplyReport& Applied::report() const noexcept {
    return state_->report;
}

std::uint64_t Applied::state() const noexcept {
    return state_->applied ? state_->report.state : state_->host.base_state;
}

bool Applied::is_applied() const noexcept {
    return state_->applied;
}

std::uint64_t Applied::kept_bytes() const noexcept {
    std::uint64_t bytes = 0;
    for (const HeldTensor& tensor : state_->held)
        bytes += tensor.payload.size() + tensor.scales.size();
    return bytes;
}

namespace {

/// What a plan says of its engine, without its tensors.
MemoryPlan host_of(const MemoryPlan& plan) {
    MemoryPlan host;
    host.base_state = plan.base_state;
    host.access = plan.access;
    host.allocator = plan.allocator;
    host.quiescence = plan.quiescence;
    host.keep_base = plan.keep_base;
    return host;
}

Status can_be_undone(bool applied, bool keeps_base) {
    if (!applied) {
        return failure(make_finding(FindingCode::undo_stale,
                                    "there is nothing to undo: the weights are the base's"));
    }
    if (keeps_base) return {};
    return failure(make_finding(FindingCode::undo_stale,
                                "the base was not kept (keep_base), so that it cannot come back; "
                                "load the model anew"));
}

/// Whether a plan is for the engine whose tensors are held.
Status is_same_engine(std::span<const HeldTensor> held, std::uint64_t base_state,
                      const MemoryPlan& next) {
    Findings findings;
    if (base_state != next.base_state) {
        findings.add(make_finding(FindingCode::bad_view,
                                  "the plan is for a model of another identity than the one that "
                                  "the stack is applied to"));
    }
    std::map<std::uint64_t, const MemoryPlan::Tensor*> by_hash;
    for (const MemoryPlan::Tensor& tensor : next.tensors)
        by_hash[tensor.target.name_hash] = &tensor;
    for (const HeldTensor& tensor : held) {
        const auto found = by_hash.find(tensor.target.name_hash);
        if (found == by_hash.end()) continue;
        const MemoryPlan::Tensor* planned = found->second;
        const MemoryTensor& there = planned->target;
        if (there.payload.data() == tensor.target.payload.data() &&
            there.scales.data() == tensor.target.scales.data() &&
            there.dtype == tensor.target.dtype && there.shape == tensor.target.shape &&
            there.block_size == tensor.target.block_size && planned->index == tensor.index) {
            continue;
        }
        Finding finding = make_finding(
            FindingCode::bad_view,
            "the plan describes it differently from the one that was applied; plan for the same "
            "engine");
        finding.tensor = tensor_label(there.name, there.name_hash);
        findings.add(std::move(finding));
    }
    if (findings.has_errors()) return failure(std::move(findings));
    return {};
}

}  // namespace

Result<Applied> apply_in_memory(const MemoryPlan& plan, const ApplyOptions& options) {
    return guarded([&]() -> Result<Applied> {
        auto state = std::make_unique<Applied::State>();
        state->host = host_of(plan);
        auto report = exchange_stacks({.out = {}, .in = &plan, .options = &options}, state->held);
        if (!report) return failure(std::move(report.error()));
        state->report = std::move(*report);
        return Applied(std::move(state));
    });
}

Status Applied::swap(const MemoryPlan& next, const ApplyOptions& options) {
    return guarded([&]() -> Status {
        if (!state_->applied) {
            auto applied = apply_in_memory(next, options);
            if (!applied) return failure(std::move(applied.error()));
            *this = std::move(*applied);
            return {};
        }
        const std::span<HeldTensor> out(state_->held.data(), state_->held.size());
        if (Status can = can_be_undone(true, state_->host.keep_base); !can) return can;
        if (Status same = is_same_engine(out, state_->host.base_state, next); !same) return same;
        auto state = std::make_unique<State>();
        state->host = host_of(next);
        auto report = exchange_stacks(
            {.out = out, .in = &next, .options = &options, .was_applied = true}, state->held);
        if (!report) return failure(std::move(report.error()));
        state->report = std::move(*report);
        state_ = std::move(state);
        return {};
    });
}

Status Applied::undo(const Executor& executor) {
    return guarded([&]() -> Status {
        if (Status can = can_be_undone(state_->applied, state_->host.keep_base); !can) return can;
        const std::span<HeldTensor> out(state_->held.data(), state_->held.size());
        Exchange exchange(out, {}, state_->host.access, state_->host.allocator, executor);
        if (!exchange.prepare({}) || !exchange.verify()) return failure(described(exchange));
        if (Status changed = change_at_rest(exchange, state_->host.quiescence); !changed) {
            return changed;
        }
        state_->held.clear();
        state_->applied = false;
        return {};
    });
}

}  // namespace trlm::adapt
