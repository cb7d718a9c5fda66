#include "trlm/adapt/receipt/ledger.hpp"

#include "descriptions.hpp"

namespace trlm::adapt {
namespace {

Finding broken(std::uint64_t offset, std::string pointer, std::string message,
               std::string expected = {}, std::string actual = {}) {
    return {.code = FindingCode::ledger_broken,
            .message = std::move(message),
            .offset = offset,
            .pointer = std::move(pointer),
            .expected = std::move(expected),
            .actual = std::move(actual)};
}

/// Findings of one line, placed in the file.
Findings placed(const Findings& findings, std::uint64_t offset) {
    Findings moved;
    for (Finding finding : findings) {
        finding.offset = offset + finding.offset.value_or(0);
        moved.add(std::move(finding));
    }
    return moved;
}

/// Does `line` follow from the lines before it?
void check_link(const LedgerLine& line, std::uint64_t number, const Digest& previous,
                std::uint64_t offset, Findings& findings) {
    if (line.seq != number) {
        findings.add(broken(offset, "/seq",
                            fmt::format("line {} of the ledger has seq {}: a line was removed, "
                                        "added or moved",
                                        number + 1, line.seq),
                            fmt::format("{}", number), fmt::format("{}", line.seq)));
    }
    if (line.prev != previous) {
        findings.add(broken(offset, "/prev",
                            fmt::format("line {} of the ledger does not follow from the line "
                                        "before it, which was edited, removed or moved",
                                        number + 1),
                            to_hex(previous.bytes), to_hex(line.prev.bytes)));
    }
}

std::string line_of(const LedgerLine& line) {
    return document::to_json(line, schemas::ledger).dump();
}

}  // namespace

Result<std::vector<LedgerLine>> read_ledger(std::string_view text, const DocumentOptions& options) {
    return guarded([&]() -> Result<std::vector<LedgerLine>> {
        Findings findings;
        std::vector<LedgerLine> lines;
        if (text.size() > options.max_bytes) {
            return failure({.code = FindingCode::limit_exceeded,
                            .message = fmt::format("the ledger has {} bytes, but at most {} are "
                                                   "read; shorten it",
                                                   text.size(), options.max_bytes),
                            .expected = fmt::format("at most {}", options.max_bytes),
                            .actual = fmt::format("{}", text.size())});
        }
        Digest previous;  // of the line before
        std::uint64_t number = 0;
        for (std::size_t start = 0; start < text.size() && !findings.full(); ++number) {
            const std::size_t end = text.find('\n', start);
            if (end == std::string_view::npos) {
                findings.add(broken(start, "",
                                    "the last line of the ledger does not end in a newline: it was "
                                    "cut off; take a whole copy"));
                break;
            }
            const std::string_view bytes = text.substr(start, end - start);
            Result<LedgerLine> line = document::read<LedgerLine>(bytes, schemas::ledger, options);
            if (line) {
                check_link(*line, number, previous, start, findings);
                lines.push_back(std::move(*line));
            } else {
                findings.append(placed(line.error(), start));
            }
            previous = sha256(as_bytes(bytes));
            start = end + 1;
        }
        if (text.empty())
            findings.add(broken(0, "", "the ledger has no line, but at least one is expected"));
        if (findings.has_errors()) return failure(std::move(findings));
        return lines;
    });
}

std::string write_ledger(std::span<const LedgerEvent> events) {
    std::string text;
    Digest previous;
    std::uint64_t number = 0;
    for (const LedgerEvent& event : events) {
        const std::string line = line_of(
            {.seq = number++, .prev = previous, .event = event.event, .subject = event.subject});
        previous = sha256(as_bytes(line));
        text += line + '\n';
    }
    return text;
}

}  // namespace trlm::adapt
