#pragma once
// The adapter manifest: what a package is, and for which models.  docs/receipts.md

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trlm/adapt/identity.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/receipt/file_ref.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The strengths for which an adapter was made, both ends included.
struct StrengthRange {
    double min = 0;  ///< the least
    double max = 0;  ///< the greatest
    friend bool operator==(const StrengthRange&, const StrengthRange&) = default;
};

/// `trlm/adapter-manifest@1`
struct AdapterManifest {
    FileRef package;                          ///< the file that the manifest is of
    PackageKind format = PackageKind::dense;  ///< its kind
    std::uint64_t internal_checksum = 0;      ///< as its header states it
    Identity identity;                        ///< the model that it is for
    std::uint32_t entry_count = 0;            ///< tensors that it changes
    std::vector<ContentDigest> base_models;   ///< at least one
    StrengthRange strength_range;             ///< for which strengths it was made
    std::optional<std::string> license;       ///< an SPDX identifier, say
    std::optional<std::string> source;        ///< where it comes from, in words
};

/// Everything that a manifest states and the reader computes.
[[nodiscard]] AdapterManifest describe_package(const Package& package);

/// `value_drift` for each field of `manifest` that differs from what `package` is. O(1).
[[nodiscard]] Findings compare_with_package(const AdapterManifest& manifest,
                                            const Package& package);

/// Reads a manifest. Findings: those of strict reading, `bad_value` for an empty strength range.
/// O(bytes).
[[nodiscard]] Result<AdapterManifest> read_adapter_manifest(std::string_view text,
                                                            const DocumentOptions& options = {});

/// The document's bytes.
[[nodiscard]] std::string write_adapter_manifest(const AdapterManifest& manifest);

}  // namespace trlm::adapt
#pragma GCC visibility pop
