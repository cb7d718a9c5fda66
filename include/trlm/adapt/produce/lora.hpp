#pragma once
// LoRA adapters as PEFT saves them.  docs/making-adapters.md

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt {

/// One adapted matrix.
struct LoraEntry {
    std::string tensor;  ///< its name in SLM1
    std::string module;  ///< its name in PEFT
    std::uint32_t rank = 0;
    float scale = 0;
};

/// A LoRA as an ALR1 package.
struct ImportedLora {
    std::vector<std::byte> package;
    std::vector<LoraEntry> entries;  ///< in the order of the model's tensors
};

/// Converts the folder `path` with `adapter_config.json` and `adapter_model.safetensors` (or that
/// file itself) into a package for `base`. Scale is alpha / r, or alpha / sqrt(r) with rsLoRA; the
/// rows of q and k are put in SLM1's order (see `half_split_row`).
///
/// Findings name the file: `unsupported_source`, by name, for whatever a low-rank delta cannot say
/// (DoRA, biases, modules_to_save, adapted embeddings, another method, an initialization that
/// changed the base); `tensor_unknown` and `tensor_shape_differs` for a LoRA of another model;
/// `missing_tensor`, `unexpected_tensor`, `unsupported_dtype`, `non_finite`; `bad_low_rank` for a
/// rank that is not the configuration's, above min(rows, columns, 4096), or a scale of 0;
/// `bad_value`, `missing_key`, `file_missing`, and those of `read_safetensors` and strict JSON.
/// Memory is twice the package's. O(bytes).
[[nodiscard]] Result<ImportedLora> import_lora(const std::string& path, const Model& base);

}  // namespace trlm::adapt
