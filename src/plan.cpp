#include "trlm/adapt/plan.hpp"

#include <algorithm>
#include <array>

#include "bounds.hpp"
#include "guard.hpp"

namespace trlm::adapt {
namespace {

constexpr std::array output_dtypes{OutputDtype::keep, OutputDtype::q8_0, OutputDtype::f32};

/// How a tensor is stored after a stack has named it.
TensorStorage storage_after(const ModelTensor& tensor, OutputDtype output_dtype) {
    if (output_dtype == OutputDtype::f32) return {Dtype::f32, 0};
    if (output_dtype == OutputDtype::q8_0 && tensor.dtype == Dtype::q4_0) {
        return {Dtype::q8_0, canonical_block_size(Dtype::q8_0, tensor.shape)};
    }
    return {tensor.dtype, tensor.block_size};
}

/// The tensors that the stack names, in directory order, with their deltas in stack order.
std::vector<PlannedTensor> planned_tensors(const Model& model, std::span<const StackMember> stack,
                                           OutputDtype output_dtype) {
    std::vector<std::vector<PlannedDelta>> deltas(model.tensors().size());
    for (const StackMember& member : stack) {
        const auto entries = member.package->entries();
        for (std::size_t i = 0; i < entries.size(); ++i) {
            const auto index = model.find_tensor(entries[i].name_hash);
            deltas[*index].push_back(planned_delta(*member.package, i, member.strength));
        }
    }
    std::vector<PlannedTensor> tensors;
    for (std::size_t i = 0; i < deltas.size(); ++i) {
        if (deltas[i].empty()) continue;
        const ModelTensor& tensor = model.tensors()[i];
        const bool proven = proves_finite(tensor.max_abs, deltas[i]);
        tensors.push_back({i, storage_after(tensor, output_dtype), std::move(deltas[i]), proven});
    }
    return tensors;
}

/// A part of the new file at its place; `place` sorts and then fills the gaps.
struct PlacedRegion {
    std::uint64_t offset = 0;
    OutputRegion region;
};

/// Sorts `placed` by offset and appends them to the plan, each gap filled by `gap(offset, length)`.
template <class Gap>
void append_regions(ApplyPlan& plan, std::vector<PlacedRegion> placed, std::uint64_t offset,
                    const Gap& gap) {
    std::ranges::sort(placed, {}, &PlacedRegion::offset);
    for (const PlacedRegion& next : placed) {
        if (next.offset > offset) plan.regions.push_back(gap(offset, next.offset - offset));
        plan.regions.push_back(next.region);
        offset = next.offset + next.region.length;
    }
    if (plan.output_bytes > offset) {
        plan.regions.push_back(gap(offset, plan.output_bytes - offset));
    }
}

/// Adds the payload and the scales of planned tensor `index`, which lie where `tensor` says.
void place_tensor(std::vector<PlacedRegion>& placed, const ModelTensor& tensor, std::size_t index) {
    placed.push_back(
        {tensor.payload_offset, {RegionSource::payload, tensor.payload_length, 0, index}});
    if (tensor.scale_length > 0) {
        placed.push_back(
            {tensor.scale_offset, {RegionSource::scales, tensor.scale_length, 0, index}});
    }
}

/// Same layout as the base: everything but the named tensors and the checksum is copied.
void plan_in_place(ApplyPlan& plan) {
    const Model& model = *plan.model;
    plan.output_bytes = model.bytes().size();
    constexpr std::uint64_t head_length = slm1_checksum_offset + sizeof(std::uint64_t);
    const Bytes head = slice(model.bytes(), 0, head_length);
    plan.head.assign(head.begin(), head.end());
    store<std::uint64_t>(plan.head, slm1_checksum_offset, 0);
    plan.regions.push_back({RegionSource::head, head_length, 0, 0});

    std::vector<PlacedRegion> placed;
    for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
        place_tensor(placed, model.tensors()[plan.tensors[i].model_index], i);
    }
    append_regions(plan, std::move(placed), head_length,
                   [](std::uint64_t offset, std::uint64_t length) {
                       return OutputRegion{RegionSource::base, length, offset, 0};
                   });
}

/// The canonical layout, with a header whose checksum everybody can compute.
Status plan_anew(ApplyPlan& plan) {
    const Model& model = *plan.model;
    ModelSpec spec;
    spec.shape = model.shape();
    spec.flags = model.flags();
    spec.tokenizer_section = model.tokenizer_section();
    std::vector<std::optional<std::size_t>> planned(model.tensors().size());
    for (std::size_t i = 0; i < plan.tensors.size(); ++i)
        planned[plan.tensors[i].model_index] = i;
    std::vector<std::size_t> source;  // index in the base of each tensor of the new directory
    for (const ExpectedTensor& expected : expected_tensors(spec.shape, spec.flags)) {
        source.push_back(*model.find_tensor(tensor_name_hash(expected.name)));
        const ModelTensor& tensor = model.tensors()[source.back()];
        const auto named = planned[source.back()];
        spec.storage.push_back(named ? plan.tensors[*named].storage
                                     : TensorStorage{tensor.dtype, tensor.block_size});
    }
    auto layout = layout_model(spec);
    if (!layout) return failure(std::move(layout.error()));
    plan.head = std::move(layout->head);
    plan.output_bytes = layout->file_length;
    plan.regions.push_back({RegionSource::head, plan.head.size(), 0, 0});

    std::vector<PlacedRegion> placed;
    for (std::size_t i = 0; i < layout->tensors.size(); ++i) {
        const ModelTensor& to = layout->tensors[i];
        const ModelTensor& from = model.tensors()[source[i]];
        if (planned[source[i]]) {
            place_tensor(placed, to, *planned[source[i]]);
            continue;
        }
        placed.push_back(
            {to.payload_offset, {RegionSource::base, from.payload_length, from.payload_offset, 0}});
        if (from.scale_length > 0) {
            placed.push_back(
                {to.scale_offset, {RegionSource::base, from.scale_length, from.scale_offset, 0}});
        }
    }
    append_regions(plan, std::move(placed), plan.head.size(),
                   [](std::uint64_t, std::uint64_t length) {
                       return OutputRegion{RegionSource::zeros, length, 0, 0};
                   });
    return {};
}

}  // namespace

PlannedDelta planned_delta(const Package& package, std::size_t index, float strength) noexcept {
    const PackageEntry& entry = package.entries()[index];
    return bounded_delta(package.delta(index), strength, {entry.max_abs, entry.max_abs_b});
}

std::string_view to_string(OutputDtype output_dtype) noexcept {
    switch (output_dtype) {
        case OutputDtype::q8_0:
            return "q8_0";
        case OutputDtype::f32:
            return "f32";
        case OutputDtype::keep:
            break;
    }
    return "keep";
}

Result<OutputDtype> parse_output_dtype(std::string_view text) {
    return guarded([&]() -> Result<OutputDtype> {
        for (const OutputDtype output_dtype : output_dtypes) {
            if (text == to_string(output_dtype)) return output_dtype;
        }
        return failure({.code = FindingCode::usage_error,
                        .message = "the output dtype is \"" + std::string(text) +
                                   "\", but must be keep, q8_0 or f32"});
    });
}

Result<ApplyPlan> plan_apply(const Model& model, std::span<const StackMember> stack,
                             OutputDtype output_dtype) {
    return guarded([&]() -> Result<ApplyPlan> {
        Findings findings = check_compatibility(model, stack);
        if (findings.has_errors()) return failure(std::move(findings));
        ApplyPlan plan;
        plan.model = &model;
        plan.tensors = planned_tensors(model, stack, output_dtype);
        plan.state = assembly_state(model, stack);
        plan.warnings.append(model.warnings());
        const bool promotes = std::ranges::any_of(plan.tensors, [&](const PlannedTensor& tensor) {
            return tensor.storage.dtype != model.tensors()[tensor.model_index].dtype;
        });
        if (model.checksum_verifiable() && !promotes) {
            plan_in_place(plan);
        } else if (Status status = plan_anew(plan); !status) {
            return failure(std::move(status.error()));
        }
        return plan;
    });
}

}  // namespace trlm::adapt
