#pragma once
// safetensors, the container of Hugging Face checkpoints: a strict reader that copies nothing.
// docs/making-adapters.md

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// How a safetensors file stores values. Only the first three can be converted.
enum class SafetensorsDtype : std::uint8_t {
    f32,
    f16,
    bf16,
    f64,
    i64,
    u64,
    i32,
    u32,
    i16,
    u16,
    i8,
    u8,
    boolean,
    f8_e4m3,
    f8_e5m2,
};

/// "F32", "BF16", "F8_E4M3", ...: the name in the file.
[[nodiscard]] std::string_view to_string(SafetensorsDtype dtype) noexcept;

/// Bytes of one value.
[[nodiscard]] std::uint64_t value_bytes(SafetensorsDtype dtype) noexcept;

/// True for F32, F16 and BF16, whose values an f32 holds exactly.
[[nodiscard]] constexpr bool is_convertible(SafetensorsDtype dtype) noexcept {
    return dtype <= SafetensorsDtype::bf16;
}

/// One tensor of a file, row-major.
struct SafetensorsTensor {
    std::string name;                                ///< as the file gives it
    SafetensorsDtype dtype = SafetensorsDtype::f32;  ///< how values are stored
    std::vector<std::uint64_t> dims;                 ///< empty for a single value
    std::uint64_t offset = 0;                        ///< of the data, from the start of the file
    Bytes data;                                      ///< any alignment
};

/// "[260, 128]".
[[nodiscard]] std::string dims_text(std::span<const std::uint64_t> dims);

/// A safetensors file over bytes that the caller keeps alive. Nothing is copied but names.
class Safetensors {
public:
    /// In the order of their data.
    [[nodiscard]] std::span<const SafetensorsTensor> tensors() const noexcept { return tensors_; }

    /// The tensor of that name, or nullptr. O(log n).
    [[nodiscard]] const SafetensorsTensor* find(std::string_view name) const noexcept;

    /// The texts of `__metadata__`, in the file's order.
    [[nodiscard]] std::span<const std::pair<std::string, std::string>> metadata() const noexcept {
        return metadata_;
    }

private:
    friend class SafetensorsReader;
    std::vector<SafetensorsTensor> tensors_;
    std::vector<std::size_t> by_name_;
    std::vector<std::pair<std::string, std::string>> metadata_;
};

/// The format's own bound on the length of its header.
inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;

/// Reads and checks the whole header; values are not looked at. Every rule of the format holds:
/// the data fill the file without holes (`hole`), overlaps (`overlap`) or bytes after the last
/// (`trailing_bytes`), each tensor has the bytes that its dtype and shape ask for
/// (`length_mismatch`), no name stands twice (`duplicate_key`). Further findings: `truncated`,
/// `limit_exceeded`, `bad_json`, `missing_key`, `unknown_key`, `bad_value`, `size_overflow`,
/// `range_out_of_file`, `unsupported_dtype` for a dtype whose size is not known. Findings have the
/// JSON pointer of what they are about. O(header).
[[nodiscard]] Result<Safetensors> read_safetensors(Bytes file);

/// Writes values `first` .. `first + out.size() - 1` of a convertible tensor as f32, exactly. Does
/// nothing when they lie outside, or the dtype is not convertible. O(out).
void read_values(const SafetensorsTensor& tensor, std::uint64_t first,
                 std::span<float> out) noexcept;

}  // namespace trlm::adapt
#pragma GCC visibility pop
