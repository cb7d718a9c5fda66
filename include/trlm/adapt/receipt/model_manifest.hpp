#pragma once
// The model manifest: what a model is, field by field.  docs/receipts.md

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "trlm/adapt/receipt/file_ref.hpp"
#include "trlm/adapt/receipt/registry.hpp"
#include "trlm/adapt/slm1.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// What somebody says of a model and no program can check: a text, yes or no, or nothing (null).
using Claim = std::variant<std::monostate, bool, std::string>;

/// The header's numbers that a manifest repeats.
struct ManifestShape {
    std::uint32_t vocab_size = 0;     ///< ids of the tokenizer, special ones included
    std::uint32_t hidden_size = 0;    ///< length of a token's vector
    std::uint32_t layer_count = 0;    ///< transformer layers
    std::uint32_t head_count = 0;     ///< query heads
    std::uint32_t kv_head_count = 0;  ///< key and value heads
    std::uint32_t head_dim = 0;       ///< length of a head's vector
    std::uint32_t ffn_size = 0;       ///< length of the feed-forward's inner vector
    std::uint32_t max_context = 0;    ///< positions
};

/// The tokenizer that a manifest states.
struct ManifestTokenizer {
    TokenizerKind kind = TokenizerKind::btok;  ///< BTOK or BPE1
    std::uint64_t checksum = 0;                ///< as the model's identity has it
};

/// `trlm/model-manifest@1`
struct ModelManifest {
    FileRef model;                                    ///< the file that the manifest is of
    std::uint64_t internal_checksum = 0;              ///< as its header states it
    ManifestShape shape;                              ///< its numbers
    std::uint32_t flags = 0;                          ///< the header's
    StorageDtype dtype = StorageDtype::f32;           ///< how its tensors are stored
    std::uint32_t tensor_count = 0;                   ///< tensors in the directory
    std::uint64_t parameter_count = 0;                ///< elements of all tensors together
    std::uint64_t tensor_layout_checksum = 0;         ///< as the model's identity has it
    ManifestTokenizer tokenizer;                      ///< its tokenizer
    std::string source_kind;                          ///< what the model was made from, in words
    Claim quality_claim;                              ///< what its maker says of its quality
    Claim trained_quality_claim;                      ///< the same, of what training did
    Admission admission_status = Admission::pending;  ///< whether it may be used
    std::optional<std::string> license;               ///< an SPDX identifier, say
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
#pragma GCC visibility pop
