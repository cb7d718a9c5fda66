#pragma once
// The model manifest: what a model is, field by field.  docs/receipts.md

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "trlm/adapt/receipt/file_ref.hpp"
#include "trlm/adapt/receipt/registry.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt {

/// What somebody says of a model and no program can check: a text, yes or no, or nothing (null).
using Claim = std::variant<std::monostate, bool, std::string>;

/// The header's numbers that a manifest repeats.
struct ManifestShape {
    std::uint32_t vocab_size = 0;
    std::uint32_t hidden_size = 0;
    std::uint32_t layer_count = 0;
    std::uint32_t head_count = 0;
    std::uint32_t kv_head_count = 0;
    std::uint32_t head_dim = 0;
    std::uint32_t ffn_size = 0;
    std::uint32_t max_context = 0;
};

/// The tokenizer that a manifest states.
struct ManifestTokenizer {
    TokenizerKind kind = TokenizerKind::btok;
    std::uint64_t checksum = 0;
};

/// `trlm/model-manifest@1`
struct ModelManifest {
    FileRef model;
    std::uint64_t internal_checksum = 0;
    ManifestShape shape;
    std::uint32_t flags = 0;
    StorageDtype dtype = StorageDtype::f32;
    std::uint32_t tensor_count = 0;
    std::uint64_t parameter_count = 0;
    std::uint64_t tensor_layout_checksum = 0;
    ManifestTokenizer tokenizer;
    std::string source_kind;
    Claim quality_claim;
    Claim trained_quality_claim;
    Admission admission_status = Admission::pending;
    std::optional<std::string> license;
};

/// The dtype that all tensors of a model share, or mixed. O(tensors).
[[nodiscard]] StorageDtype storage_dtype(const Model& model) noexcept;

/// Everything that a manifest states and the reader computes; the rest is left as it is by default.
[[nodiscard]] ModelManifest describe_model(const Model& model);

/// `value_drift` for each field of `manifest` that differs from what `model` is. O(tensors).
[[nodiscard]] Findings compare_with_model(const ModelManifest& manifest, const Model& model);

/// Reads a manifest. Findings: those of strict reading. O(bytes).
[[nodiscard]] Result<ModelManifest> read_model_manifest(std::string_view text,
                                                        const DocumentOptions& options = {});

/// The document's bytes.
[[nodiscard]] std::string write_model_manifest(const ModelManifest& manifest);

}  // namespace trlm::adapt
