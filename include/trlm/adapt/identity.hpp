#pragma once
// What an adapter must match, and the running state of an assembly.  docs/formats.md, section 2

#include <cstdint>
#include <span>

#include "trlm/adapt/tensor.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The five fields that tie an adapter to a model, whatever the storage of its tensors.
struct Identity {
    std::uint32_t model_flags = 0;             ///< the header's flags; `model_flag_tied_output`
    std::uint32_t tensor_count = 0;            ///< tensors in the directory
    std::uint64_t parameter_count = 0;         ///< elements of all tensors together
    std::uint64_t tensor_layout_checksum = 0;  ///< see `tensor_layout_checksum`
    /// Stored checksum of the tokenizer section without padding.
    std::uint64_t tokenizer_checksum = 0;
    friend bool operator==(const Identity&, const Identity&) = default;
};

/// A tensor as the layout checksum sees it: no storage, no offsets.
struct LayoutEntry {
    std::uint64_t name_hash = 0;  ///< `tensor_name_hash` of the name
    Shape shape;                  ///< its dimensions
};

/// XXH3-64 of `TRLMLAY1` and, by ascending name hash, of hash, rank and dims. O(n log n).
[[nodiscard]] std::uint64_t tensor_layout_checksum(std::span<const LayoutEntry> tensors);

/// s0: the state of a model without any adapter.
[[nodiscard]] std::uint64_t initial_state(const Identity& identity) noexcept;

/// The state after one more adapter, in stack order.
[[nodiscard]] std::uint64_t next_state(std::uint64_t state, std::uint64_t package_checksum,
                                       float strength) noexcept;

}  // namespace trlm::adapt
#pragma GCC visibility pop
