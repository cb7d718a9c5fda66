#include "trlm/adapt/chosen_stack.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "guard.hpp"
#include "trlm/adapt/receipt/apply_receipt.hpp"
#include "trlm/adapt/replay.hpp"

namespace trlm::adapt {
namespace {

Result<std::string> read_text(Source& folder, const std::string& path, std::uint64_t most_bytes) {
    const auto file = folder.open(path);
    if (!file) return failure(file.error());
    auto bytes = read_whole(*file, most_bytes);
    if (!bytes) {
        bytes.error().set_file(path);
        return failure(std::move(bytes.error()));
    }
    return std::string(as_text(*bytes));
}

/// The apply receipts of a folder that can be read.
std::vector<std::pair<std::string, ApplyReceipt>> apply_receipts(Source& folder) {
    std::vector<std::pair<std::string, ApplyReceipt>> receipts;
    const auto paths = folder.can_list() ? folder.list() : Result<std::vector<std::string>>();
    if (!paths) return receipts;
    for (const std::string& path : *paths) {
        const bool beside = path.find('/') == std::string::npos;
        if (!beside || !path.ends_with(".apply-receipt.json")) continue;
        const auto text = read_text(folder, path, limits::json_bytes);
        if (!text) continue;
        auto receipt = read_apply_receipt(*text, {.allow_weak_digests = true});
        if (receipt) receipts.emplace_back(path, std::move(*receipt));
    }
    return receipts;
}

}  // namespace

Result<ChosenStack> read_preferred_stack(Source& folder, const DocumentOptions& options) {
    return guarded([&]() -> Result<ChosenStack> {
        const std::string path(family_receipt_name);
        const auto text = read_text(folder, path, options.max_bytes);
        if (!text) return failure(text.error());
        auto family = read_family(*text, options);
        if (!family) {
            family.error().set_file(path);
            return failure(std::move(family.error()));
        }
        ChosenStack chosen{.family = std::move(*family), .members = {}};
        Findings findings;
        for (const OrderedMember& ordered : chosen.stack().order) {
            const FamilyMember& member = *chosen.family.find(ordered.member);
            const auto bytes = read_verified(folder, member.manifest);
            auto manifest = bytes ? read_adapter_manifest(as_text(*bytes), options)
                                  : Result<AdapterManifest>(failure(bytes.error()));
            if (!manifest) {
                manifest.error().set_file(member.manifest.path);
                findings.append(std::move(manifest.error()));
                continue;
            }
            FileRef described = manifest->package;
            described.path = resolve_path(member.manifest.path, described.path);
            if (described != member.package) {
                findings.add(
                    {.code = FindingCode::link_mismatch,
                     .message = "the manifest describes another package than the family "
                                "names; take both from the same release",
                     .file = member.manifest.path,
                     .pointer = "/package",
                     .expected = member.package.path + ", " + to_string(member.package.digest),
                     .actual = described.path + ", " + to_string(described.digest)});
            }
            chosen.members.push_back(
                {.member = member, .manifest = std::move(*manifest), .strength = ordered.strength});
        }
        if (findings.has_errors()) return failure(std::move(findings));
        return chosen;
    });
}

Findings check_member(const ChosenMember& member, const Package& package) {
    Findings findings = check_file(member.member.package, package.bytes());
    if (findings.has_errors()) return findings;
    findings = compare_with_package(member.manifest, package);
    findings.set_file(member.member.manifest.path);
    return findings;
}

Findings check_use(const ChosenStack& chosen, const Digest& base,
                   std::span<const float> strengths) {
    Findings findings;
    for (std::size_t i = 0; i < chosen.members.size(); ++i) {
        const ChosenMember& member = chosen.members[i];
        const std::string& file = member.member.manifest.path;
        const auto& bases = member.manifest.base_models;
        if (std::find(bases.begin(), bases.end(), ContentDigest(base)) == bases.end()) {
            findings.add({.code = FindingCode::base_not_listed,
                          .message = "this model is not among those that the adapter was made for; "
                                     "use a listed model, or have it listed",
                          .file = file,
                          .pointer = "/base_models",
                          .expected = to_string(bases.front()),
                          .actual = to_string(base)});
        }
        const StrengthRange& range = member.manifest.strength_range;
        // Both ends as f32, as strengths are.
        if (strengths[i] >= static_cast<float>(range.min) &&
            strengths[i] <= static_cast<float>(range.max)) {
            continue;
        }
        findings.add({.code = FindingCode::strength_out_of_range,
                      .message = fmt::format("the adapter \"{}\" was made for other strengths; "
                                             "choose one of them, or test it and widen its range",
                                             member.member.id),
                      .file = file,
                      .pointer = "/strength_range",
                      .expected = fmt::format("{} to {}", range.min, range.max),
                      .actual = fmt::format("{}", strengths[i])});
    }
    return findings;
}

Findings find_earlier_application(Source& folder, const Digest& base, std::uint64_t base_bytes,
                                  std::span<const Digest> packages, bool strict) {
    Findings findings;
    for (const auto& [path, receipt] : apply_receipts(folder)) {
        if (receipt.output.bytes != base_bytes || receipt.output.digest != ContentDigest(base))
            continue;
        for (const AppliedPackage& applied : receipt.stack) {
            const auto same = [&](const Digest& digest) {
                return applied.package.digest == ContentDigest(digest);
            };
            if (std::none_of(packages.begin(), packages.end(), same)) continue;
            findings.add({.code = FindingCode::already_applied,
                          .message = fmt::format("the receipt {} records that this model has {} "
                                                 "in it already; apply to the original base, "
                                                 "unless twice is what you want",
                                                 path, applied.package.path),
                          .severity = strict ? Severity::error : Severity::warning,
                          .actual = to_string(applied.package.digest)});
        }
    }
    return findings;
}

bool may_be_an_output(Source& folder, std::uint64_t base_bytes) {
    const auto receipts = apply_receipts(folder);
    return std::any_of(receipts.begin(), receipts.end(),
                       [&](const auto& entry) { return entry.second.output.bytes == base_bytes; });
}

}  // namespace trlm::adapt
