#include "table.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace trlm::adapt::cli {
namespace {

constexpr std::string_view escape_of(Paint paint) noexcept {
    switch (paint) {
        case Paint::bold:
            return "\x1b[1m";
        case Paint::dim:
            return "\x1b[2m";
        case Paint::red:
            return "\x1b[1;31m";
        case Paint::green:
            return "\x1b[32m";
        case Paint::yellow:
            return "\x1b[1;33m";
        case Paint::none:
            break;
    }
    return "";
}

constexpr bool is_continuation(unsigned char byte) noexcept {
    return (byte & 0xC0U) == 0x80U;
}

/// A character at the start of some text: its bytes (0 when they are not UTF-8) and code point.
struct Character {
    std::size_t size = 0;
    std::uint32_t code = 0;
};

Character first_character(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) return {1, lead};
    const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return {};
    std::uint32_t code = lead & (0xFFU >> (size + 1));
    for (std::size_t i = 1; i < size; ++i) {
        if (!is_continuation(byte(i))) return {};
        code = code << 6U | (byte(i) & 0x3FU);
    }
    constexpr std::array<std::uint32_t, 5> smallest = {0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (code < smallest[size] || code > 0x10FFFF || surrogate) return {};
    return {size, code};
}

/// True for what changes how other text is shown: control characters, line separators, and marks
/// of writing direction.
constexpr bool commands_a_terminal(std::uint32_t code) noexcept {
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x200E && code <= 0x200F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

/// The first `columns` columns of `text`.
std::string_view first_columns(std::string_view text, std::size_t columns) noexcept {
    std::size_t end = 0;
    while (end < text.size()) {
        if (!is_continuation(static_cast<unsigned char>(text[end]))) {
            if (columns == 0) break;
            --columns;
        }
        ++end;
    }
    return text.substr(0, end);
}

/// The last `columns` columns of `text`.
std::string_view last_columns(std::string_view text, std::size_t columns) noexcept {
    std::size_t start = text.size();
    while (start > 0 && columns > 0) {
        --start;
        if (!is_continuation(static_cast<unsigned char>(text[start]))) --columns;
    }
    return text.substr(start);
}

std::string padded(const Cell& cell, std::size_t width, Align align, const Style& style) {
    const std::string text = shortened(cell.text, width);
    const std::string space(width - display_width(text), ' ');
    const std::string painted = style.paint(cell.paint, text);
    return align == Align::left ? painted + space : space + painted;
}

void remove_trailing_spaces(std::string& line) {
    line.erase(line.find_last_not_of(' ') + 1);
}

}  // namespace

std::string Style::paint(Paint paint, std::string_view text) const {
    if (!color || paint == Paint::none || text.empty()) return std::string(text);
    return fmt::format("{}{}\x1b[0m", escape_of(paint), text);
}

std::string printable(std::string_view text) {
    std::string result;
    while (!text.empty()) {
        const Character character = first_character(text);
        const std::size_t size = std::max<std::size_t>(character.size, 1);
        if (character.size != 0 && !commands_a_terminal(character.code)) {
            result += text.substr(0, size);
        } else {
            for (const char c : text.substr(0, size)) {
                result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
            }
        }
        text.remove_prefix(size);
    }
    return result;
}

std::size_t display_width(std::string_view text) noexcept {
    // cppcheck-suppress invalidLifetime ; the caller's text outlives the call
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return !is_continuation(static_cast<unsigned char>(c));
    }));
}

std::string shortened(std::string_view text, std::size_t width) {
    constexpr std::string_view gap = "...";
    if (display_width(text) <= width) return std::string(text);
    if (width <= gap.size()) return std::string(first_columns(text, width));
    const std::size_t shown = width - gap.size();
    std::string result(first_columns(text, shown / 2));
    result += gap;
    result += last_columns(text, shown - shown / 2);
    return result;
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
    std::string result;
    std::size_t column = indent;
    while (!text.empty()) {
        const std::size_t space = std::min(text.find(' '), text.size());
        const std::string_view word = text.substr(0, space);
        text.remove_prefix(std::min(space + 1, text.size()));
        if (word.empty()) continue;
        const std::size_t word_width = display_width(word);
        if (column > indent && column + 1 + word_width > width) {
            result += '\n';
            result.append(indent, ' ');
            column = indent;
        } else if (column > indent) {
            result += ' ';
            ++column;
        }
        result += word;
        column += word_width;
    }
    return result;
}

std::string grouped(std::uint64_t number) {
    std::string digits = std::to_string(number);
    for (std::size_t left = digits.size(); left > 3;) {
        left -= 3;
        digits.insert(left, 1, ',');
    }
    return digits;
}

std::string short_byte_size(std::uint64_t bytes) {
    constexpr std::array<std::string_view, 6> units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) return fmt::format("{} B", bytes);
    double size = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    // 1023.95 would be printed as 1024.0.
    while (size >= 1023.95 && unit + 1 < units.size()) {
        size /= 1024;
        ++unit;
    }
    return fmt::format("{:.1f} {}", size, units[unit]);
}

std::string byte_size(std::uint64_t bytes) {
    if (bytes < 1024) return counted(bytes, "byte", "bytes");
    return fmt::format("{} bytes ({})", grouped(bytes), short_byte_size(bytes));
}

std::string counted(std::uint64_t count, std::string_view singular, std::string_view plural) {
    return fmt::format("{} {}", grouped(count), count == 1 ? singular : plural);
}

std::vector<std::size_t> Table::widths(std::size_t room) const {
    std::vector<std::size_t> widths;
    for (const Column& column : columns_)
        widths.push_back(display_width(column.heading));
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < widths.size(); ++i) {
            widths[i] = std::max(widths[i], display_width(row[i].text));
        }
    }
    std::size_t total = 2 * (columns_.size() - 1);
    for (const std::size_t width : widths)
        total += width;
    constexpr std::size_t narrowest = 12;
    for (std::size_t i = 0; i < widths.size() && total > room; ++i) {
        if (!columns_[i].flexible || widths[i] <= narrowest) continue;
        const std::size_t less = std::min(total - room, widths[i] - narrowest);
        widths[i] -= less;
        total -= less;
    }
    return widths;
}

std::string Table::print(const Style& style, std::size_t indent) const {
    const std::vector<std::size_t> column_widths =
        widths(style.width > indent ? style.width - indent : 0);
    std::string result;
    const auto print_row = [&](const std::vector<Cell>& row) {
        std::string line(indent, ' ');
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            if (i > 0) line += "  ";
            line += padded(row[i], column_widths[i], columns_[i].align, style);
        }
        remove_trailing_spaces(line);
        result += line;
        result += '\n';
    };
    std::vector<Cell> headings;
    for (const Column& column : columns_)
        headings.emplace_back(column.heading, Paint::dim);
    const bool any_heading = std::any_of(columns_.begin(), columns_.end(),
                                         [](const Column& c) { return !c.heading.empty(); });
    if (any_heading) print_row(headings);
    for (const auto& row : rows_)
        print_row(row);
    return result;
}

}  // namespace trlm::adapt::cli
