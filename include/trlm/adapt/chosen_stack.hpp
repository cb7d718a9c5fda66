#pragma once
// The stack that a folder's family receipt prefers, and what receipts tell about a model's past.
// docs/receipts.md

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/receipt/adapter_manifest.hpp"
#include "trlm/adapt/receipt/family.hpp"
#include "trlm/adapt/source.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The name of a family receipt in a folder of adapters.
inline constexpr std::string_view family_receipt_name = "family.receipt.json";

/// One adapter of the stack, as family and manifest describe it.
struct ChosenMember {
    FamilyMember member;       ///< as the family names it
    AdapterManifest manifest;  ///< its manifest, checked
    float strength = 1;        ///< its factor in this stack
};

/// The preferred stack of a family, before any package is opened.
struct ChosenStack {
    AdapterFamily family;               ///< the family's receipt, checked
    std::vector<ChosenMember> members;  ///< in stack order

    /// The preferred stack; a family that was read has one.
    [[nodiscard]] const FamilyStack& stack() const noexcept { return *family.preferred_stack(); }
};

/// Reads the family receipt of a folder and the manifests of its preferred stack's members.
/// Findings: those of strict reading, `file_missing`, `size_mismatch`, `digest_mismatch`,
/// `link_mismatch` where a manifest describes another package. O(bytes of the documents).
[[nodiscard]] Result<ChosenStack> read_preferred_stack(Source& folder,
                                                       const DocumentOptions& options = {});

/// Is this package the one that family and manifest describe? `size_mismatch`, `digest_mismatch`,
/// `value_drift`. O(bytes).
[[nodiscard]] Findings check_member(const ChosenMember& member, const Package& package);

/// May the stack be applied to the model of this digest, with these strengths? `base_not_listed`,
/// `strength_out_of_range`. O(members).
[[nodiscard]] Findings check_use(const ChosenStack& chosen, const Digest& base,
                                 std::span<const float> strengths);

/// `already_applied`, a warning or, when `strict`, an error, where an apply receipt
/// (`*.apply-receipt.json`) in `folder` records that the model of digest `base` and size
/// `base_bytes` is the output of a stack with one of `packages`. Receipts that cannot be read tell
/// nothing. O(bytes of the receipts).
[[nodiscard]] Findings find_earlier_application(Source& folder, const Digest& base,
                                                std::uint64_t base_bytes,
                                                std::span<const Digest> packages, bool strict);

/// True when `folder` has an apply receipt whose output has `base_bytes` bytes, so that it is worth
/// computing digests for `find_earlier_application`. O(bytes of the receipts).
[[nodiscard]] bool may_be_an_output(Source& folder, std::uint64_t base_bytes);

}  // namespace trlm::adapt
#pragma GCC visibility pop
