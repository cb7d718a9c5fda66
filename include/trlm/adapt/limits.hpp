#pragma once
// Every limit of the formats, in one table.  docs/formats.md, section 5

#include <cstdint>
#include <span>
#include <string_view>

namespace trlm::adapt {

namespace limits {
inline constexpr std::uint32_t tensors = 65'536;
inline constexpr std::uint32_t tensor_rank = 4;
inline constexpr std::uint32_t dim = 2'147'483'647;
inline constexpr std::uint64_t elements = std::uint64_t{1} << 40;
inline constexpr std::uint64_t sparse_elements = std::uint64_t{1} << 32;
inline constexpr std::uint32_t low_rank = 4'096;
inline constexpr std::uint64_t metadata_bytes = 1'048'576;
inline constexpr std::uint32_t metadata_depth = 16;
inline constexpr std::uint64_t json_bytes = 1'048'576;
inline constexpr std::uint32_t json_depth = 32;
inline constexpr std::uint32_t stack_members = 64;
inline constexpr std::uint32_t findings = 1'000;
inline constexpr std::uint64_t budget_model_bytes = 33'554'432;
inline constexpr std::uint64_t budget_adapter_stack_bytes = 1'048'576;
inline constexpr std::uint64_t budget_text_sidecar_bytes = 262'144;
}  // namespace limits

/// One row of `trlm-adapt limits`.
struct Limit {
    std::string_view name;
    std::uint64_t value;
    std::string_view unit;     ///< "bytes", "tensors", ...
    std::string_view applies;  ///< one phrase: to what, and which finding tells that it is passed
};

/// All limits, in the order of docs/formats.md, section 5.
[[nodiscard]] std::span<const Limit> all_limits() noexcept;

}  // namespace trlm::adapt
