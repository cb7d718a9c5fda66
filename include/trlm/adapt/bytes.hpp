#pragma once
// Little-endian reading and writing over plain bytes, at any alignment.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#pragma GCC visibility push(default)
namespace trlm::adapt {

static_assert(std::endian::native == std::endian::little,
              "the payload kernels read little-endian files in place");

/// Bytes that are read, of anybody's memory.
using Bytes = std::span<const std::byte>;
/// Bytes that are written.
using MutableBytes = std::span<std::byte>;

/// True when [offset, offset + length) lies inside `size` bytes; cannot wrap.
[[nodiscard]] constexpr bool range_inside(std::uint64_t offset, std::uint64_t length,
                                          std::uint64_t size) noexcept {
    return offset <= size && length <= size - offset;
}

/// The part of `bytes` at [offset, offset + length), or an empty span when it lies outside.
[[nodiscard]] inline Bytes slice(Bytes bytes, std::uint64_t offset, std::uint64_t length) noexcept {
    return range_inside(offset, length, bytes.size())
               ? bytes.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length))
               : Bytes{};
}

/// The value of type T at `offset`; T{} when it lies outside. Any alignment.
template <class T>
[[nodiscard]] T load(Bytes bytes, std::uint64_t offset) noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (range_inside(offset, sizeof(T), bytes.size())) {
        std::memcpy(&value, bytes.data() + offset, sizeof(T));
    }
    return value;
}

/// Writes `value` at `offset`; does nothing when it would lie outside.
template <class T>
void store(MutableBytes bytes, std::uint64_t offset, T value) noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    if (range_inside(offset, sizeof(T), bytes.size())) {
        std::memcpy(bytes.data() + offset, &value, sizeof(T));
    }
}

/// The bytes of a text.
[[nodiscard]] inline Bytes as_bytes(std::string_view text) noexcept {
    return std::as_bytes(std::span(text.data(), text.size()));
}

/// The text of some bytes, without copying.
[[nodiscard]] inline std::string_view as_text(Bytes bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace trlm::adapt
#pragma GCC visibility pop
