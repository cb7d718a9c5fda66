#pragma once
// Hugging Face checkpoints of the LLaMA shape.  docs/making-adapters.md

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trlm/adapt/file.hpp"
#include "trlm/adapt/produce/convert.hpp"
#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Where a row of a q or k projection lies in a checkpoint. SLM1 rotates adjacent pairs of rows of
/// each head, Hugging Face row i of the first half with row i of the second. `row` counts in SLM1;
/// `head_dim` is even.
[[nodiscard]] constexpr std::uint64_t half_split_row(std::uint64_t row,
                                                     std::uint64_t head_dim) noexcept {
    const std::uint64_t head = row / head_dim;
    const std::uint64_t within = row % head_dim;
    return head * head_dim + within / 2 + within % 2 * (head_dim / 2);
}

/// A checkpoint whose files are open and checked, all but its values.
class Checkpoint {
public:
    /// `path`: a folder with `config.json` and `model.safetensors` or
    /// `model.safetensors.index.json`, or a `.safetensors` file beside such a `config.json`.
    /// Findings name the file: `unsupported_source` for what SLM1 has no place for (architecture,
    /// activation, bias, RoPE scaling, quantization, tokenizer), `missing_tensor`,
    /// `unexpected_tensor`, `shape_mismatch`, `unsupported_dtype`, `duplicate_tensor` (in two
    /// shards), `path_escape` (a shard outside the folder), those of `read_safetensors` and of
    /// strict JSON, `file_missing`, `file_unreadable`. `reading` is that of the files with tensors;
    /// the documents are copied. O(headers), where tensors are copied O(bytes).
    [[nodiscard]] static Result<Checkpoint> open(const std::string& path,
                                                 FileReading reading = FileReading::mapped);

    /// Takes over; the other may only be destroyed or assigned to.
    Checkpoint(Checkpoint&& other) noexcept;
    /// The same.
    Checkpoint& operator=(Checkpoint&& other) noexcept;
    ~Checkpoint();

    /// The model that it becomes; refers to this object.
    [[nodiscard]] ModelSource source() const;

    /// What its owner should know, one sentence each.
    [[nodiscard]] std::span<const std::string> notes() const noexcept;

    /// Gives back the memory of what was read (see `MappedFile::release`).
    void release() const noexcept;

private:
    struct Parts;
    explicit Checkpoint(std::unique_ptr<Parts> parts) noexcept;
    std::unique_ptr<Parts> parts_;
    friend class CheckpointReader;
};

}  // namespace trlm::adapt
#pragma GCC visibility pop
