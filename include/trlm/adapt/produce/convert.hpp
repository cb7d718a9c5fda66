#pragma once
// Models from other forms: checkpoints, other storages, foreign checksums.
// docs/making-adapters.md

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Fills `out` with whole rows of tensor `index` (of `expected_tensors`), from `first_row` on.
using RowReader =
    std::function<void(std::size_t index, std::uint64_t first_row, std::span<float> out)>;

/// The bytes of tensor `index`, where it is stored already as it may stay.
using StoredTensor = std::function<std::optional<TensorView>(std::size_t index)>;

/// A model that is to be written, read row by row: never more than a part of one tensor is in
/// memory. What it refers to must outlive it.
struct ModelSource {
    ModelShape shape;          ///< the header's numbers
    std::uint32_t flags = 0;   ///< the header's flags
    Bytes tokenizer_section;   ///< bytes of a BTOK or BPE1 section
    RowReader read_rows;       ///< gives the values
    StoredTensor stored = {};  ///< may be empty
};

/// `model` as a source. The model must outlive it.
[[nodiscard]] ModelSource source_of(const Model& model);

/// How a model is written.
struct ConvertOptions {
    /// Storage of every tensor, rounded to nearest; a tensor that is stored so already keeps its
    /// bytes, and one whose rows have an odd length stays f32 where q4_0 is asked for. Without it
    /// each tensor stays as it is stored, or becomes f32.
    std::optional<Dtype> dtype;
    Progress progress;  ///< told of the bytes done; may cancel
};

/// What was written.
struct ConvertedModel {
    std::uint64_t bytes = 0;              ///< size of the file
    Digest digest;                        ///< SHA-256
    std::uint64_t internal_checksum = 0;  ///< as its header states it
    std::uint64_t parameter_count = 0;    ///< elements of all tensors together
    std::vector<ModelTensor> tensors;     ///< in file order
};

/// Writes `source` to `path` as an SLM1 file in canonical order, as one step: on any failure
/// nothing of it remains. `replace` allows an existing target. Findings: `non_finite` and
/// `bad_scale` once for each tensor that cannot be stored, those of `layout_model`,
/// `output_failed`, also when cancelled. Memory is that of a few rows and one tensor's scales.
/// O(parameters).
[[nodiscard]] Result<ConvertedModel> convert_model(const ModelSource& source,
                                                   const std::string& path, bool replace,
                                                   const ConvertOptions& options = {});

/// The same in memory.
[[nodiscard]] Result<ConvertedModel> convert_to_memory(const ModelSource& source,
                                                       std::vector<std::byte>& output,
                                                       const ConvertOptions& options = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
