#include "trlm/adapt/receipt/model_manifest.hpp"

#include <algorithm>

#include "descriptions.hpp"

namespace trlm::adapt {
namespace {

StorageDtype storage_of(Dtype dtype) noexcept {
    switch (dtype) {
        case Dtype::f32:
            return StorageDtype::f32;
        case Dtype::q8_0:
            return StorageDtype::q8_0;
        case Dtype::q4_0:
            return StorageDtype::q4_0;
    }
    return StorageDtype::mixed;
}

void describe_into(const Model& model, ModelManifest& manifest) {
    const ModelShape& shape = model.shape();
    const Identity& identity = model.identity();
    manifest.internal_checksum = model.checksum();
    manifest.shape = {.vocab_size = shape.vocab_size,
                      .hidden_size = shape.hidden_size,
                      .layer_count = shape.layer_count,
                      .head_count = shape.head_count,
                      .kv_head_count = shape.kv_head_count,
                      .head_dim = shape.head_dim,
                      .ffn_size = shape.ffn_size,
                      .max_context = shape.max_context};
    manifest.flags = identity.model_flags;
    manifest.dtype = storage_dtype(model);
    manifest.tensor_count = identity.tensor_count;
    manifest.parameter_count = identity.parameter_count;
    manifest.tensor_layout_checksum = identity.tensor_layout_checksum;
    manifest.tokenizer = {.kind = model.tokenizer().kind(),
                          .checksum = identity.tokenizer_checksum};
}

}  // namespace

StorageDtype storage_dtype(const Model& model) noexcept {
    const auto tensors = model.tensors();
    if (tensors.empty()) return StorageDtype::mixed;
    const Dtype first = tensors.front().dtype;
    const bool same = std::all_of(tensors.begin(), tensors.end(),
                                  [&](const ModelTensor& tensor) { return tensor.dtype == first; });
    return same ? storage_of(first) : StorageDtype::mixed;
}

ModelManifest describe_model(const Model& model) {
    ModelManifest manifest;
    describe_into(model, manifest);
    return manifest;
}

Findings compare_with_model(const ModelManifest& manifest, const Model& model) {
    constexpr document::Object<ModelManifest> rule{};
    ModelManifest computed = manifest;
    describe_into(model, computed);
    return document::compare(rule.write(manifest), rule.write(computed));
}

Result<ModelManifest> read_model_manifest(std::string_view text, const DocumentOptions& options) {
    return document::read<ModelManifest>(text, schemas::model_manifest, options);
}

std::string write_model_manifest(const ModelManifest& manifest) {
    return document::write(manifest, schemas::model_manifest);
}

}  // namespace trlm::adapt
