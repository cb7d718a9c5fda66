#pragma once
// The ledger: what happened to a model, each line bound to the one before it.  docs/receipts.md

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/receipt/file_ref.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// `trlm/ledger@1`, one line.
struct LedgerLine {
    std::uint64_t seq = 0;  ///< 0, 1, 2 ...
    Digest prev;            ///< SHA-256 of the line before without its newline; zero for the first
    std::string event;      ///< what happened, in words
    ContentDigest subject;  ///< to which file
};

/// Reads a ledger: one strict JSON object a line, each line ending in LF. Findings: those of strict
/// reading, with `offset` of the line; `ledger_broken` where `seq` or `prev` does not follow from
/// the line before, for a last line without LF and for a ledger without lines. O(bytes).
[[nodiscard]] Result<std::vector<LedgerLine>> read_ledger(std::string_view text,
                                                          const DocumentOptions& options = {});

/// An event to be recorded.
struct LedgerEvent {
    std::string event;      ///< what happened, in words
    ContentDigest subject;  ///< to which file
};

/// The ledger of `events` in their order, with `seq` and `prev` set.
[[nodiscard]] std::string write_ledger(std::span<const LedgerEvent> events);

}  // namespace trlm::adapt
#pragma GCC visibility pop
