// Adapter packages: the reader and the core agree, what was read is written again byte for byte,
// and every instruction set applies it alike.

#include <algorithm>

#include "sample_model.hpp"
#include "support.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/core.hpp"
#include "trlm/adapt/simd.hpp"

using namespace trlm::adapt;
using fuzz::require;

namespace {

/// What the reader found, in the terms of the writer.
PackageContent content_of(const Package& package) {
    PackageContent content;
    content.kind = package.kind();
    content.identity = package.identity();
    content.metadata = package.metadata();
    content.mask_method = package.mask_method();
    content.mask_seed = package.mask_seed();
    content.source_kind = package.source_kind();
    content.source_hash = package.source_hash();
    return content;
}

/// Values of a payload in memory that is aligned for them.
template <class T>
std::vector<T> values_of(Bytes bytes) {
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
}

/// Dense and low-rank packages have one byte form; that of a sparse one also depends on its zeros.
void write_again(const Package& package) {
    PackageContent content = content_of(package);
    std::vector<std::vector<float>> kept;
    for (std::size_t i = 0; i < package.entries().size(); ++i) {
        const PackageEntry& entry = package.entries()[i];
        EntryContent written{entry.name_hash, entry.shape, DenseContent{}};
        const Delta delta = package.delta(i);
        if (const auto* dense = std::get_if<DenseDelta>(&delta)) {
            kept.push_back(values_of<float>(dense->values));
            written.delta = DenseContent{kept.back()};
        } else if (const auto* low_rank = std::get_if<LowRankDelta>(&delta)) {
            kept.push_back(values_of<float>(low_rank->a));
            const std::span<const float> a = kept.back();
            kept.push_back(values_of<float>(low_rank->b));
            written.delta = LowRankContent{low_rank->rank, low_rank->scale, a, kept.back()};
        } else {
            return;
        }
        content.entries.push_back(written);
    }
    const auto written = write_package(content);
    require(written.has_value(), "what was read can be written");
    require(std::ranges::equal(*written, package.bytes()), "reader then writer: the same bytes");
}

std::vector<std::byte> applied(const ApplyPlan& plan, std::string_view target, bool& done) {
    ApplyOptions options;
    options.allow_no_effect = true;
    options.simd_target = target;
    std::vector<std::byte> output;
    done = apply_to_memory(plan, output, options).has_value();
    if (!done) output.clear();
    return output;
}

void apply_everywhere(const Package& package) {
    for (const Model& model : fuzz::sample_models()) {
        const StackMember member{&package, 0.75F, {}};
        const auto plan = plan_apply(model, {&member, 1});
        // `validate --model` asks the one, `apply` the other.
        const Findings found = check_compatibility(model, {&member, 1});
        require(plan.has_value() == found.empty(), "what is compatible can be planned");
        if (!plan) {
            require(std::ranges::equal(found, plan.error(), {}, &Finding::code, &Finding::code),
                    "validating and applying find the same");
            continue;
        }
        bool expected_done = false;
        const std::vector<std::byte> expected = applied(*plan, "scalar", expected_done);
        for (const std::string& target : simd_targets()) {
            bool done = false;
            require(applied(*plan, target, done) == expected && done == expected_done,
                    "every target gives the same bytes");
        }
        if (expected_done) require(read_model(expected).has_value(), "what is applied is a model");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes file = fuzz::bytes_of(data, size);
    const auto package = read_package(file);
    core::PackageView view;
    const core::Outcome opened = core::PackageView::open(file, view);
    if (!package) {
        require(package.error().has_errors(), "a refusal has a reason");
        // The core does not look at the text of metadata.
        const bool metadata_only = std::ranges::all_of(package.error(), [](const Finding& finding) {
            return finding.code == FindingCode::bad_metadata;
        });
        require(metadata_only || !opened, "the core refuses what the reader refuses");
        if (!opened && !metadata_only) {
            require(package.error().dropped() > 0 || package.error().contains(opened.code),
                    "the core's finding is one of the reader's");
        }
        return 0;
    }
    require(opened.ok, "the core opens what the reader reads");
    require(read_package(file, ReadDepth::headers).has_value(), "headers alone are right too");
    write_again(*package);
    apply_everywhere(*package);
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
    return fuzz::mutate(data, size, most, seed, fuzz::seal_package);
}
