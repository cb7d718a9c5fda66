#pragma once
// Tensors: names, shapes, and the three storages.  docs/formats.md, section 1

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/checked.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// FNV-1a 64 of a tensor's UTF-8 name: how files refer to tensors.
[[nodiscard]] constexpr std::uint64_t tensor_name_hash(std::string_view name) noexcept {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : name) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3ULL;
    }
    return hash;
}

/// `name`, or "0x" and 16 hex digits of `name_hash` when the name is not known.
[[nodiscard]] std::string tensor_label(std::string_view name, std::uint64_t name_hash);

/// How values are stored. Not ggml's types of the same names: there each block of 32 carries an
/// f16 scale; here f32 scales lie in a region of their own (per row for q8_0, per block for q4_0).
enum class Dtype : std::uint32_t { f32 = 1, q8_0 = 2, q4_0 = 3 };

/// "f32", "q8_0", "q4_0", or "unsupported".
[[nodiscard]] std::string_view to_string(Dtype dtype) noexcept;

/// True for the three values above.
[[nodiscard]] constexpr bool is_supported(Dtype dtype) noexcept {
    return dtype == Dtype::f32 || dtype == Dtype::q8_0 || dtype == Dtype::q4_0;
}

/// Row-major dimensions; `dims[rank - 1]` is contiguous, unused ones are 1.
struct Shape {
    std::uint32_t rank = 0;                         ///< how many dimensions there are, 1 to 4
    std::array<std::uint32_t, 4> dims{1, 1, 1, 1};  ///< outermost first

    /// The last dimension.
    [[nodiscard]] constexpr std::uint64_t cols() const noexcept {
        return rank == 0 ? 0 : dims[rank - 1];
    }

    /// Product of all dimensions.
    [[nodiscard]] constexpr CheckedSize elements() const noexcept {
        CheckedSize product = 1;
        for (std::uint32_t i = 0; i < rank; ++i)
            product = product * CheckedSize(dims[i]);
        return product;
    }

    /// Product of all dimensions but the last; 1 for rank 1.
    [[nodiscard]] constexpr std::uint64_t rows() const noexcept {
        CheckedSize product = 1;
        for (std::uint32_t i = 0; i + 1 < rank; ++i)
            product = product * CheckedSize(dims[i]);
        return product.value();
    }

    friend bool operator==(const Shape&, const Shape&) = default;
};

/// "[260, 128]".
[[nodiscard]] std::string to_string(const Shape& shape);

/// Bytes of the payload: 4 n, n or n / 2.
[[nodiscard]] CheckedSize payload_bytes(Dtype dtype, const Shape& shape) noexcept;

/// Number of f32 scales: none, one per row, or one per block of `block_size` in a row.
[[nodiscard]] CheckedSize scale_count(Dtype dtype, const Shape& shape,
                                      std::uint32_t block_size) noexcept;

/// The block size that this project writes: 0 for f32, cols for q8_0, and for q4_0 the largest
/// even divisor of cols not above 32 (0 when cols is odd: such a tensor stays f32).
[[nodiscard]] std::uint32_t canonical_block_size(Dtype dtype, const Shape& shape) noexcept;

/// Scales must lie strictly below this, so that no code decodes to infinity:
/// 2^121 for q8_0, 2^125 for q4_0.
[[nodiscard]] float scale_bound(Dtype dtype) noexcept;

/// The largest magnitude of a code, in units of its scale: 128 for q8_0 (which no encoder of ours
/// chooses), 8 for q4_0; 1 for f32, whose values have no scale.
[[nodiscard]] float largest_code(Dtype dtype) noexcept;

/// A tensor as it lies in memory or in a mapped file; nothing is copied.
struct TensorView {
    std::string_view name;         ///< may be empty when only the hash is known
    std::uint64_t name_hash = 0;   ///< `tensor_name_hash` of the name
    Dtype dtype = Dtype::f32;      ///< how values are stored
    Shape shape;                   ///< row-major dimensions
    std::uint32_t block_size = 0;  ///< values per scale in a row; 0 for f32
    Bytes payload;                 ///< f32 values or codes
    Bytes scales;                  ///< f32 scales; empty for f32
};

}  // namespace trlm::adapt
#pragma GCC visibility pop
