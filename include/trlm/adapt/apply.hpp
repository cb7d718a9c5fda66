#pragma once
// Check everything, then apply a whole stack as one transaction.  docs/formats.md, section 4

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/executor.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/rounding.hpp"
#include "trlm/adapt/survival.hpp"
#include "trlm/adapt/undo.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// What an application did.
struct ApplyReport {
    std::uint64_t state = 0;              ///< assembly state
    std::uint64_t internal_checksum = 0;  ///< of the new model
    std::uint64_t bytes = 0;              ///< size of the new model
    bool zero_effect = false;             ///< no stored byte changed
    std::vector<TensorSurvival> tensors;  ///< per tensor of the stack, when asked for
    std::optional<double> kept;           ///< of the whole stack, when asked for
    Findings warnings;                    ///< what an option allowed
};

/// An application whose result went through a digest.
struct DigestedReport {
    ApplyReport report;  ///< what was done
    Digest digest;       ///< SHA-256 of the new model
};

/// How a stack is applied.
struct ApplyOptions {
    Rounding rounding;                   ///< how quantized values are rounded
    bool survival = false;               ///< measure how much of the delta arrived
    bool allow_no_effect = false;        ///< `zero_effect` becomes a warning
    std::optional<double> min_survival;  ///< `survival_below_threshold` below it; implies survival
    Executor executor;                   ///< where the work runs; by default on the calling thread
    Progress progress;                   ///< told of the bytes done; may cancel
    std::string simd_target;             ///< see simd.hpp; empty: the best
    /// `value_drift` when the new model has another digest, and nothing is published.
    std::optional<Digest> expected_digest;
    /// Called when the new model is complete and has no name yet, by what writes it to a file: the
    /// place to publish what belongs to it, such as a receipt, with `OutputFile::commit_before`. A
    /// failure leaves the model unpublished; so may what comes after, and what was published here
    /// is then the caller's to withdraw.
    std::function<Status(const DigestedReport& done, const OutputFile& model)> before_publishing;
};

/// Takes the next bytes of the new model, in file order; returns false when it cannot.
using OutputSink = std::function<bool(Bytes)>;

/// Checks that every fused value is finite and every new scale in range, writing nothing.
/// `fused_non_finite` names each tensor and its first element, row or block; `output_failed`
/// when cancelled, `executor_failed` when the executor dropped a task. O(touched elements * stack).
[[nodiscard]] Status check_fused(const ApplyPlan& plan, const ApplyOptions& options = {});

/// Streams the new model into `sink` in file order, with the eight bytes of the header's checksum
/// zero: the checksum is known at the end, in the report. Memory is bounded by tiles. What the
/// sink got must be thrown away on failure: `fused_non_finite`, `zero_effect`,
/// `survival_below_threshold`, `output_failed` (sink or cancel), `executor_failed`, `usage_error`
/// (unknown simd_target). Safe to call from several threads with the same plan.
[[nodiscard]] Result<ApplyReport> apply_to_sink(const ApplyPlan& plan, const OutputSink& sink,
                                                const ApplyOptions& options = {});

/// The new model in memory, checksum set.
[[nodiscard]] Result<ApplyReport> apply_to_memory(const ApplyPlan& plan,
                                                  std::vector<std::byte>& output,
                                                  const ApplyOptions& options = {});

/// Writes the new model to `path`: a temporary file in its folder, fsync, rename, fsync of the
/// folder. `replace` allows an existing target. On any failure nothing of it remains. While the
/// digest is computed, another thread, where one can be had, brings the file to the disk.
[[nodiscard]] Result<DigestedReport> apply_to_file(const ApplyPlan& plan, const std::string& path,
                                                   bool replace, const ApplyOptions& options = {});

/// An application that can be undone.
struct UndoableReport {
    DigestedReport applied;  ///< the new model
    UndoReport undo;         ///< the undo file
};

/// The same, and also writes to `undo_path` what turns the new model back into the base, bit for
/// bit (undo.hpp). The undo file is published before the new model, so that there is no moment at
/// which the new model lies there without it; on any failure neither remains, and what they were to
/// replace is there again, where the file system has links. `replace` holds for both.
/// `options.progress` is told of a second pass, from 0 on. docs/formats.md, section 6
[[nodiscard]] Result<UndoableReport> apply_with_undo(const ApplyPlan& plan, const std::string& path,
                                                     const std::string& undo_path, bool replace,
                                                     const ApplyOptions& options = {});

/// What `apply_to_file` would give, without writing anything.
[[nodiscard]] Result<DigestedReport> predict(const ApplyPlan& plan,
                                             const ApplyOptions& options = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
