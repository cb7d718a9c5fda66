#include "application.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>

#include "fp_environment.hpp"
#include "fuse.hpp"

namespace trlm::adapt::bench {
namespace {

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "%s\n", what.c_str());
    std::exit(1);
}

/// The value, or the end of the program: a benchmark of what failed says nothing.
template <class T>
T required(Result<T> result) {
    if (!result) fail(result.error()[0].message);
    return std::move(*result);
}

MemoryTensor target_of(SampleTensor& tensor) {
    return {.name_hash = tensor_name_hash(sample_name),
            .name = sample_name,
            .dtype = tensor.dtype,
            .shape = tensor.shape,
            .block_size = tensor.block_size,
            .payload = tensor.payload,
            .scales = std::as_writable_bytes(std::span(tensor.scales)),
            .max_abs = std::nullopt};
}

}  // namespace

Application::Application(SampleTensor& tensor, std::vector<Delta> deltas,
                         const ApplicationOptions& options) {
    options_.rounding = options.rounding;
    options_.survival = options.survival;
    options_.allow_no_effect = true;
    options_.executor = make_executor(options.threads);
    for (const float strength : {1.0F, -1.0F}) {
        MemoryPlan& plan = plans_[strength < 0 ? 1 : 0];
        plan.keep_base = false;
        MemoryPlan::Tensor planned;
        planned.target = target_of(tensor);
        planned.proven_finite = true;
        for (const Delta& delta : deltas)
            planned.deltas.push_back({.delta = delta, .strength = strength});
        plan.tensors.push_back(std::move(planned));
    }
}

void Application::operator()() {
    (void)required(apply_in_memory(plans_[next_], options_));
    next_ = 1 - next_;
}

TileByTile::TileByTile(SampleTensor& tensor, std::vector<Delta> deltas) : tensor_(&tensor) {
    for (Delta& delta : deltas)
        deltas_.push_back({.delta = std::move(delta)});
}

void TileByTile::operator()() {
    const FpEnvironment environment;
    const MemoryTensor target = target_of(*tensor_);
    const TensorView view{target.name,       target.name_hash, target.dtype, target.shape,
                          target.block_size, target.payload,   target.scales};
    TensorFuser fuser;
    FuseScratch scratch;
    if (!fuser.prepare(view, {view.dtype, view.block_size}, deltas_, Rounding{}, false,
                       kernels::best()) ||
        !scratch.reserve(fuser, {})) {
        fail("out of memory");
    }
    TileOutcome outcome;
    for (std::uint64_t i = 0; i < fuser.tile_count(); ++i) {
        const Tile tile = fuser.tile(i);
        const OldTile old = fuser.old_tile(tile, target.payload.data(), target.scales.data());
        const NewTile fused{target.payload.data() + fuser.payload_offset(tile),
                            target.scales.data() + fuser.scale_offset(tile)};
        fuser.fuse(tile, old, scratch, fused, /*watch_changes=*/false, outcome);
        if (outcome.bad) fail("a value is not finite");
    }
    for (PlannedDelta& delta : deltas_)
        delta.strength = -delta.strength;
}

Transaction::Transaction(SampleTensor& tensor, std::span<const float> delta, bool bounded) {
    MemoryTensor target = target_of(tensor);
    if (bounded) {
        float largest = 0;
        for (const float value : tensor.values())
            largest = std::max(largest, std::fabs(value));
        target.max_abs = 2 * largest;  // deltas are small and come and go
    }
    const LayoutEntry layout{target.name_hash, target.shape};
    const Identity identity{.tensor_count = 1,
                            .parameter_count = target.shape.elements().value(),
                            .tensor_layout_checksum = tensor_layout_checksum({&layout, 1})};
    file_ = required(write_package({.kind = PackageKind::dense,
                                    .identity = identity,
                                    .entries = {{.name_hash = target.name_hash,
                                                 .shape = target.shape,
                                                 .delta = DenseContent{delta}}},
                                    .metadata = {}}));
    package_ = required(read_package(file_));
    for (const float strength : {1.0F, -1.0F}) {
        const StackMember member{.package = &package_, .strength = strength, .file = {}};
        MemoryPlan plan = required(plan_in_memory({identity, {&target, 1}}, {&member, 1}));
        if (plan.tensors[0].proven_finite != bounded) {
            fail("the bounds did not prove what they should");
        }
        plan.keep_base = false;
        plans_[strength < 0 ? 1 : 0] = std::move(plan);
    }
}

void Transaction::operator()() {
    (void)required(apply_in_memory(plans_[next_]));
    next_ = 1 - next_;
}

}  // namespace trlm::adapt::bench
