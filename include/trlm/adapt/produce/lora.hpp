#pragma once
// LoRA adapters as PEFT saves them.  docs/making-adapters.md

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "trlm/adapt/package_file.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// One adapted matrix.
struct LoraEntry {
    std::string tensor;      ///< its name in SLM1
    std::string module;      ///< its name in PEFT
    std::uint32_t rank = 0;  ///< columns of B, rows of A
    float scale = 0;         ///< what the product of the factors is multiplied by
};

/// A LoRA as an ALR1 package that has no name yet: `file.commit` gives it one.
struct ImportedLora {
    PackageFile file;                ///< not yet published
    WrittenPackage written;          ///< what `file` holds
    std::vector<LoraEntry> entries;  ///< in the order of the model's tensors
};

/// Converts the folder `path` with `adapter_config.json` and `adapter_model.safetensors` (or that
/// file itself) into a package for `base`, to be called `output`. Scale is alpha / r, or alpha /
/// sqrt(r) with rsLoRA; the rows of q and k are put in SLM1's order (see `half_split_row`).
///
/// Findings name the file: `unsupported_source`, by name, for whatever a low-rank delta cannot say
/// (DoRA, biases, modules_to_save, adapted embeddings, another method, an initialization that
/// changed the base); `tensor_unknown` and `tensor_shape_differs` for a LoRA of another model;
/// `missing_tensor`, `unexpected_tensor`, `unsupported_dtype`, `non_finite`; `bad_low_rank` for a
/// rank that is not the configuration's, above min(rows, columns, 4096), or a scale of 0;
/// `bad_value`, `missing_key`, `file_missing`, and those of `read_safetensors` and strict JSON.
/// `output_failed`, also when cancelled. Memory is that of one matrix's factors. O(bytes).
[[nodiscard]] Result<ImportedLora> import_lora(const std::string& path, const Model& base,
                                               const std::string& output,
                                               const Progress& progress = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
