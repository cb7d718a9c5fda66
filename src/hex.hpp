#pragma once
// Lower-case hexadecimal text.

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace trlm::adapt {

/// The value of a lower-case hex digit, or nothing.
[[nodiscard]] constexpr std::optional<unsigned> hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
    return std::nullopt;
}

/// Fills `bytes` from `text`; false unless it holds exactly two lower-case digits for each.
[[nodiscard]] constexpr bool from_hex(std::string_view text, std::span<std::byte> bytes) noexcept {
    if (text.size() != 2 * bytes.size()) return false;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto high = hex_digit(text[2 * i]);
        const auto low = hex_digit(text[2 * i + 1]);
        if (!high || !low) return false;
        bytes[i] = static_cast<std::byte>(*high << 4 | *low);
    }
    return true;
}

}  // namespace trlm::adapt
