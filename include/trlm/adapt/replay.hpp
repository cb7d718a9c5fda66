#pragma once
// Applying again what a receipt records.  docs/receipts.md

#include <optional>
#include <string>
#include <string_view>

#include "trlm/adapt/executor.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/receipt/apply_receipt.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/source.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// A file of `source` that `file` names, whole and verified: size first, then digest. Findings name
/// it: `file_missing`, `file_unreadable`, `path_escape`, `size_mismatch`, `digest_mismatch`.
/// O(bytes).
[[nodiscard]] Result<std::vector<std::byte>> read_verified(Source& source, const FileRef& file);

/// How a receipt is replayed.
struct ReplayOptions {
    /// What to do with a checksum that cannot be verified.
    ChecksumPolicy checksum = ChecksumPolicy::verify;
    bool allow_weak_digests = false;  ///< `weak_digest` becomes a warning
    Executor executor = {};           ///< where the work runs
    Progress progress = {};           ///< told of the bytes done; may cancel
    std::string simd_target = {};     ///< see simd.hpp; empty: the best
};

/// What a replay gave.
struct ReplayReport {
    ApplyReceipt recorded;  ///< what the receipt says
    ApplyReceipt replayed;  ///< the same, with what was computed anew
    Findings findings;      ///< warnings, and errors where something differs
};

/// Reads the receipt `text` and applies again what it records, writing nothing. Its files are those
/// of `folder`, where the receipt lies; what is not there is looked for in `root`, by its path and,
/// where that is a bare name, in all of its folders. The findings name every difference:
/// `size_mismatch`, `digest_mismatch` (a file is not the recorded one), `value_drift` (of a
/// package), `replay_differs` (state, output or survival). A failure when nothing can be compared.
/// Memory: model and packages. O(bytes).
[[nodiscard]] Result<ReplayReport> replay(std::string_view text, Source& folder, Source* root,
                                          const ReplayOptions& options = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
