#pragma once
// Every limit of the formats, in one table.  docs/formats.md, section 5

#include <cstdint>
#include <span>
#include <string_view>

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The limits as constants: counts, and bytes where the name says so.
namespace limits {
inline constexpr std::uint32_t tensors = 65'536;     ///< tensors of a model, entries of a package
inline constexpr std::uint32_t tensor_rank = 4;      ///< dimensions of a tensor
inline constexpr std::uint32_t dim = 2'147'483'647;  ///< elements of a dimension
inline constexpr std::uint64_t elements = std::uint64_t{1} << 40;  ///< elements of a tensor
/// Elements of a tensor that an ASP1 names.
inline constexpr std::uint64_t sparse_elements = std::uint64_t{1} << 32;
inline constexpr std::uint32_t low_rank = 4'096;            ///< rank of an ALR1 entry
inline constexpr std::uint64_t metadata_bytes = 1'048'576;  ///< metadata of a package
/// Objects and arrays in each other, in metadata.
inline constexpr std::uint32_t metadata_depth = 16;
inline constexpr std::uint64_t json_bytes = 1'048'576;  ///< a JSON document
/// Objects and arrays in each other, in a document.
inline constexpr std::uint32_t json_depth = 32;
inline constexpr std::uint32_t stack_members = 64;  ///< adapters of a stack
inline constexpr std::uint32_t findings = 1'000;    ///< findings of a run that are kept
/// A model, unless a registry says otherwise.
inline constexpr std::uint64_t budget_model_bytes = 33'554'432;
/// The packages of a stack, unless a registry says otherwise.
inline constexpr std::uint64_t budget_adapter_stack_bytes = 1'048'576;
/// A document, unless a registry says otherwise.
inline constexpr std::uint64_t budget_text_sidecar_bytes = 262'144;
}  // namespace limits

/// One row of `trlm-adapt limits`.
struct Limit {
    std::string_view name;     ///< as `trlm-adapt limits` prints it
    std::uint64_t value;       ///< the largest that is allowed, in `unit`
    std::string_view unit;     ///< "bytes", "tensors", ...
    std::string_view applies;  ///< one phrase: to what, and which finding tells that it is passed
};

/// All limits, in the order of docs/formats.md, section 5.
[[nodiscard]] std::span<const Limit> all_limits() noexcept;

}  // namespace trlm::adapt
#pragma GCC visibility pop
