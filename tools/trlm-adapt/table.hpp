#pragma once
// Text that lines up: numbers, widths, tables. Whatever came from a file is made harmless first.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trlm::adapt::cli {

enum class Paint : std::uint8_t { none, bold, dim, red, green, yellow };

/// How a stream is written to: with colours or without, and how wide.
struct Style {
    bool color = false;
    std::size_t width = 80;

    /// `text` in a colour, where there are colours.
    [[nodiscard]] std::string paint(Paint paint, std::string_view text) const;
};

/// `text` with control characters, invalid UTF-8 and marks that reverse the writing direction as
/// `\xNN`, so that a name in a file cannot command a terminal.
[[nodiscard]] std::string printable(std::string_view text);

/// Columns that `text` takes on a terminal; it must be printable.
[[nodiscard]] std::size_t display_width(std::string_view text) noexcept;

/// At most `width` columns of `text`, with "..." in the middle where something was left out.
[[nodiscard]] std::string shortened(std::string_view text, std::size_t width);

/// `text` broken at spaces into lines of at most `width` columns, all but the first after `indent`
/// spaces; the first is expected to start in that column. A longer word is not broken.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t indent, std::size_t width);

/// "947,648".
[[nodiscard]] std::string grouped(std::uint64_t number);

/// "947,648 bytes (925.4 KiB)", without the part in brackets below 1 KiB.
[[nodiscard]] std::string byte_size(std::uint64_t bytes);

/// "925.4 KiB".
[[nodiscard]] std::string short_byte_size(std::uint64_t bytes);

/// "1 file", "3 files".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view singular,
                                  std::string_view plural);

enum class Align : std::uint8_t { left, right };

/// A column of a table. A flexible one gives way when a line would be too wide.
struct Column {
    std::string heading;
    Align align = Align::left;
    bool flexible = false;
};

/// A cell: printable text and its colour.
struct Cell {
    Cell(std::string content, Paint color = Paint::none)  // NOLINT: cells are mostly plain text
        : text(std::move(content)), paint(color) {}
    std::string text;
    Paint paint;
};

/// Rows under headings, two spaces between columns.
class Table {
public:
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

    /// Adds a row; it has a cell for every column.
    void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }

    /// All lines, each after `indent` spaces and none wider than `style.width` where the flexible
    /// column can make it so. Headings are left out when all are empty.
    [[nodiscard]] std::string print(const Style& style, std::size_t indent = 0) const;

private:
    [[nodiscard]] std::vector<std::size_t> widths(std::size_t room) const;
    std::vector<Column> columns_;
    std::vector<std::vector<Cell>> rows_;
};

}  // namespace trlm::adapt::cli
